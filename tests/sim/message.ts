import type { Envelope, Notify } from "../../src/mail/envelope.ts";
import { type Report, readReport } from "./report.ts";

export type End = "delivered" | "bounced" | "dropped";

/** One recipient of one stored message. */
export interface Entry {
  readonly index: number;
  readonly address: string;
  readonly notify: readonly Notify[] | undefined;
  end?: End;
  /** How often a peer took it. */
  taken: number;
  /** Up to so many takings the queue cannot know of, so that it may try again: P5's window. */
  excused: number;
  /** The notice that reports its failure. */
  notice?: string;
}

/** What was asked of a message and is not acknowledged. */
export interface Intent {
  readonly ends: ReadonlyMap<number, End>;
  readonly attempts?: number;
  /** A flush meanwhile may come before it or after. */
  due?: number;
  readonly endsLease: boolean;
  readonly bounces: readonly { readonly id: string; readonly envelope: Envelope }[];
}

export interface Message {
  readonly id: string;
  readonly sender: string;
  readonly entries: readonly Entry[];
  /** Messages that are stored together or not at all (P2). */
  readonly group: readonly string[];
  /** What it says, when it is a notification. */
  readonly report?: Report;
  /** `refused`: the store said no; only a power cut may bring back what it could not take away any more. */
  state: "writing" | "stored" | "refused";
  attempts: number;
  notBefore: number;
  isHeld: boolean;
  underWay: number;
  touchedAt: number;
  readonly intents: Set<Intent>;
}

/** A message that somebody is about to store. */
export function openMessage(
  id: string,
  envelope: Envelope,
  group: readonly string[],
  notBefore: number,
  now: number,
): Message {
  const report = readReport(envelope);
  return {
    id,
    sender: envelope.sender,
    group,
    ...(report && { report }),
    entries: envelope.recipients.map(({ address, notify }, index) => ({
      index,
      address,
      notify,
      taken: 0,
      excused: 0,
    })),
    state: "writing",
    attempts: 0,
    notBefore,
    isHeld: false,
    underWay: 0,
    touchedAt: now,
    intents: new Set(),
  };
}

/** What is wrong with giving it to the relay just now. */
export function faultsOfAttempt(
  { id, entries, state, isHeld, notBefore, underWay, attempts: known }: Message,
  attempts: number,
  indexes: readonly number[],
  now: number,
): readonly string[] {
  const faults: string[] = [];
  if (state !== "stored") faults.push(`P1: ${id} is attempted and is ${state}`);
  if (isHeld) faults.push(`${id} is attempted on hold`);
  if (underWay > 0 && !entries.some(({ excused, taken }) => excused > taken))
    faults.push(`P5: ${id} is attempted twice at once`);
  if (attempts !== known) faults.push(`P3: ${id} has ${known} attempts, not ${attempts}`);
  if (now < notBefore) faults.push(`P3: ${id} is attempted ${notBefore - now} ms early`);
  const pending = entries.filter(({ end }) => end === undefined).map(({ index }) => index);
  if (indexes.join() !== pending.join())
    faults.push(`P3: ${id} is attempted for ${indexes.join()}, and ${pending.join()} are pending`);
  return faults;
}

/** P4: who fails is reported in the same step, once, and nobody else is. Says what is wrong with that. */
export function faultsOfNotices(message: Message, { ends, bounces }: Intent): readonly string[] {
  const reports = bounces.flatMap(({ envelope }) => readReport(envelope) ?? []);
  const named = reports
    .filter(({ action }) => action === "failed")
    .flatMap(({ recipients }) => recipients)
    .toSorted();
  // It may be said again, when the answer to the first time was lost.
  const isOpen = ({ end, notice }: Entry): boolean =>
    end === undefined || bounces.some(({ id }) => id === notice);
  const failed = message.entries
    .filter((entry) => isOpen(entry) && ends.get(entry.index) === "bounced")
    .filter((entry) => wantsFailure(message, entry))
    .map(({ address }) => address)
    .toSorted();
  const faults: string[] = [];
  if (failed.join() !== named.join()) {
    faults.push(
      `P4: ${message.id} fails for [${failed.join()}], its notices name [${named.join()}]`,
    );
  }
  for (const { envelope } of bounces) {
    const isToSender = envelope.recipients[0]?.address === message.sender;
    if (envelope.sender === "" && isToSender) continue;
    faults.push(`P4: a notice about ${message.id} does not go to its sender`);
  }
  return faults;
}

/** Whether its sender is to hear when this recipient fails. */
export function wantsFailure({ sender }: Message, { notify }: Entry): boolean {
  return sender !== "" && (notify === undefined || notify.includes("FAILURE"));
}

/** Also what is being settled may be tried from then on: nobody knows which of the two came first. */
export function hasten(message: Message, due: number): void {
  message.notBefore = Math.min(message.notBefore, due);
  for (const intent of message.intents)
    if (intent.due !== undefined) intent.due = Math.min(intent.due, due);
}

/** Notes which notice reports whom. P4: says who is reported in two. */
export function reported({ id, entries }: Message, bounces: Intent["bounces"]): readonly string[] {
  const faults: string[] = [];
  for (const bounce of bounces) {
    const report = readReport(bounce.envelope);
    if (report?.action !== "failed") continue;
    for (const entry of entries.filter(({ address }) => report.recipients.includes(address))) {
      if (entry.notice !== undefined && entry.notice !== bounce.id)
        faults.push(
          `P4: ${entry.address} of ${id} is reported in ${entry.notice} and ${bounce.id}`,
        );
      entry.notice = bounce.id;
    }
  }
  return faults;
}
