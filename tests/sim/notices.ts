import type { Envelope } from "../../src/mail/envelope.ts";
import { type Intent, type Message, wantsFailure } from "./message.ts";
import { readReport } from "./report.ts";

/** What a queue of its own has of notices about failed recipients: each is stored there before its settlement (P4). */
export class Notices {
  /** By the recipient that is reported: the latest notice, and whether another may follow it. */
  readonly #of = new Map<string, { readonly id: string; isExcused: boolean }>();
  /** Stored since the last `excuse`. */
  readonly #ids = new Set<string>();
  readonly #excused = new Set<string>();
  /** Recipients whose notice is perhaps stored, and nobody heard. */
  readonly #doubtful = new Set<string>();

  /** These are about to be stored, and whoever hands them over will not know. */
  doubt(envelopes: readonly Envelope[]): void {
    for (const { recipients } of envelopes.flatMap((one) => readReport(one) ?? []))
      for (const address of recipients) this.#doubtful.add(address);
  }

  /** Whoever handed them over may not know of it any more, and do so again, or with another outcome. */
  excuse(messages: Iterable<Message> = []): void {
    for (const notice of this.#of.values()) notice.isExcused = true;
    for (const id of this.#ids) this.#excused.add(id);
    this.#ids.clear();
    for (const { report } of messages)
      for (const address of report?.recipients ?? []) this.#doubtful.add(address);
  }

  /** Whether a notice that was delivered already may be stored once more. */
  mayComeAgain(id: string): boolean {
    return this.#excused.has(id);
  }

  /** Exactly one notice reports a failure, unless something came between it and the settlement. Says what is wrong with that. */
  stored({ id, report }: Message): readonly string[] {
    if (report === undefined) return [];
    const isExcused = report.recipients.some((address) => this.#doubtful.has(address));
    (isExcused ? this.#excused : this.#ids).add(id);
    if (report.action !== "failed") return [];
    const faults: string[] = [];
    for (const address of report.recipients) {
      const before = this.#of.get(address);
      const isOther = before !== undefined && before.id !== id;
      if (isOther && !before.isExcused)
        faults.push(`P4: ${address} is reported in ${before.id} and in ${id}`);
      this.#of.set(address, { id, isExcused });
    }
    return faults;
  }

  /** Nobody fails before that is reported. Says who does. */
  missing(message: Message, { ends }: Intent): readonly string[] {
    return message.entries
      .filter(({ end, index }) => end === undefined && ends.get(index) === "bounced")
      .filter((entry) => wantsFailure(message, entry) && !this.#of.has(entry.address))
      .map(({ address }) => `P4: ${address} of ${message.id} fails and no notice of it is stored`);
  }
}
