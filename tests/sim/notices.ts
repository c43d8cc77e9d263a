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
  /** As they were when they came to their end. */
  readonly #ended = new Map<string, Message>();
  /** Handed over again while the store had them: it may have let go of them just then, and stored them anew. */
  readonly #again = new Map<string, Message>();

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

  /** A message came to its end. */
  ended(message: Message): void {
    if (message.report) this.#ended.set(message.id, message);
  }

  /**
   * A notice is stored under the id of one that has ended. What peers took of that counts: a settlement whose answer was
   * lost is said again, and then finds this one in its place.
   */
  countEarlier({ id, entries }: Message): void {
    const before = this.#ended.get(id);
    for (const entry of entries) {
      entry.taken = before?.entries[entry.index]?.taken ?? 0;
      entry.excused = entry.taken;
    }
  }

  /**
   * A notice is handed over that the store has. Its settlement may be on its way to the disk: by the state in memory it is
   * gone, by what was acknowledged it is there. Only what is seen of it later tells whether it was stored once more.
   */
  handedOverAgain(message: Message): void {
    if (this.mayComeAgain(message.id)) this.#again.set(message.id, message);
  }

  /** A message that nobody knows of is seen; returned once, if it is a notice that was handed over again. */
  takeAgain(id: string): Message | undefined {
    const message = this.#again.get(id);
    this.#again.delete(id);
    if (message) this.countEarlier(message);
    return message;
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
