import { printable } from "../mail/reply.ts";
import type { MessageDetail, QueueStatus } from "../queue/control.ts";
import { instant, oldestSeconds, recipientsOf, type Summary } from "./shapes.ts";
import { count, duration, plural, shortened, size, until } from "./words.ts";

/** The width that every terminal has. */
export const COLUMNS = 80;

/** Where the text behind a label starts. */
export const LABEL_COLUMNS = 16;
const NAME_MAX = 44;

/** A label and what belongs to it, one line each. */
export function block(label: string, lines: readonly string[]): string {
  return lines
    .map((line, index) => `  ${index === 0 ? label : ""}`.padEnd(LABEL_COLUMNS).concat(line, "\n"))
    .join("");
}

/** The queue as people read it. */
export function queueText(status: QueueStatus, now: number): string {
  const { states, connections } = status;
  const oldest = oldestSeconds(status, now);
  const age = oldest === null ? "" : `, oldest ${duration(oldest)}`;
  const queue =
    status.size === 0
      ? ["empty"]
      : [
          `${plural(status.size, "message")}, ${size(status.bytes)}${age}`,
          Object.entries(states)
            .map(([state, messages]) => `${state} ${count(messages)}`)
            .join("   "),
        ];
  const open = `${plural(connections.open, "connection")}, ${count(connections.idle)} idle`;
  return [
    block("queue", queue),
    block("delivering", [
      `${count(status.delivering)} now, ${count(status.waiting)} waiting; ${open}`,
    ]),
    status.nextDue === null ? "" : block("next due", [until(status.nextDue, now)]),
    status.corrupt === 0
      ? ""
      : block("DAMAGED", [`${plural(status.corrupt, "record")} moved aside to corrupt/`]),
    requestsText(status),
    destinationsText(status, now),
  ].join("");
}

/** What this process has asked of a store that charges for it. */
function requestsText({ requests = {} }: QueueStatus): string {
  const asked = Object.entries(requests).filter(([, times]) => times > 0);
  const line = asked.map(([kind, times]) => `${kind} ${count(times)}`).join("   ");
  return line === "" ? "" : block("requests", [line]);
}

function destinationsText({ destinations }: QueueStatus, now: number): string {
  if (destinations.length === 0) return "";
  const isShared = destinations.some(({ places }) => places !== undefined);
  const title = isShared ? "limit  places" : "limit";
  const head = `\n  ${"destination".padEnd(NAME_MAX)}     now  waiting  ${title}\n`;
  const rows = destinations.map((one) => {
    const name = shortened(printable(one.destination, NAME_MAX * 2), NAME_MAX).padEnd(NAME_MAX);
    const numbers = [
      count(one.delivering).padStart(8),
      count(one.waiting).padStart(9),
      count(one.limit).padStart(7),
      one.places === undefined ? "" : count(one.places).padStart(8),
    ].join("");
    return `  ${name}${numbers}\n${troubleText(one, now)}`;
  });
  return head + rows.join("");
}

function troubleText(one: QueueStatus["destinations"][number], now: number): string {
  const { suspendedUntil, lastFailure } = one;
  const suspended = suspendedUntil !== null && suspendedUntil > now;
  if (!suspended && lastFailure === null) return "";
  const why = lastFailure === null ? "" : `: ${printable(lastFailure, 400)}`;
  const what = suspended ? `suspended, tried again ${until(suspendedUntil, now)}` : "last failure";
  return wrapped(what + why, 6);
}

/** Text in indented lines that fit the terminal. */
function wrapped(text: string, indent: number): string {
  const lines = folded(text, COLUMNS - indent);
  return lines.map((line) => `${" ".repeat(indent)}${line}\n`).join("");
}

/** Text in lines of at most `width` columns, broken between words where there are any. */
export function folded(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > width) {
    const space = rest.lastIndexOf(" ", width);
    const end = space > 0 ? space : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** A page of the queue: two lines a message, and one for each recipient that was asked for. */
export function messagesText(
  messages: readonly { readonly summary: Summary; readonly detail: MessageDetail | undefined }[],
  next: string | null,
  now: number,
): string {
  if (messages.length === 0) return "No message.\n";
  const head = "ID                STATE          SIZE      AGE  TRIES  NEXT\n";
  const rows = messages.map(({ summary, detail }) => {
    const more = detail === undefined ? "" : `${holderText(detail)}${recipientsText(detail)}`;
    return `${summaryText(summary, now)}${more}`;
  });
  const more = next === null ? "" : `\nThere is more: after=${next}\n`;
  return head + rows.join("") + more;
}

function summaryText(summary: Summary, now: number): string {
  const { id, state, sender, domain } = summary;
  const age = duration((now - summary.receivedAt) / 1000);
  const columns = [
    id.padEnd(16),
    state.padEnd(8),
    size(summary.size).padStart(9),
    age.padStart(7),
    count(summary.attempts).padStart(5),
    nextText(state, summary.due, now),
  ].join("  ");
  const from = shortened(printable(sender, 400), 34) || "<>";
  const to = shortened(printable(domain, 400) || "no domain", 28);
  const others = summary.recipientCount === 1 ? "" : ` (${count(summary.recipientCount)})`;
  return `${columns}\n    ${from} -> ${to}${others}\n`;
}

function nextText(state: Summary["state"], due: number, now: number): string {
  if (state === "hold") return "held";
  return state === "active" ? "under way" : until(due, now);
}

function holderText({ lease }: MessageDetail): string {
  return lease === undefined ? "" : `      held by   ${printable(lease.holder, 200)}\n`;
}

function movingText({ from, to }: NonNullable<MessageDetail["moving"]>): string {
  return printable(`from ${from} to ${to}`, 400);
}

function recipientsText(detail: MessageDetail): string {
  return recipientsOf(detail)
    .map(({ address, status, reason }) => {
      const who = printable(address, 400);
      const why = reason === null ? "" : wrapped(printable(reason, 1000), 10);
      return `      ${status.padEnd(10)}${shortened(who, 60)}\n${why}`;
    })
    .join("");
}

/** One message as people read it. */
export function messageText(detail: MessageDetail, now: number): string {
  const { client } = detail.envelope;
  const tries = plural(detail.attempts, "time");
  const expiry = instant(detail.expiresAt);
  return [
    `${detail.id}, ${detail.state}\n\n`,
    block("from", [detail.sender === "" ? "<>" : printable(detail.sender, 400)]),
    block("size", [size(detail.size)]),
    block("received", [
      `${instant(detail.receivedAt)}, ${duration((now - detail.receivedAt) / 1000)} ago`,
      printable(`from ${client.host} [${client.ip}], ${client.protocol}, HELO ${client.name}`, 400),
    ]),
    block("tried", [`${tries}, next ${nextText(detail.state, detail.due, now)}`]),
    detail.lease === undefined ? "" : block("held by", [printable(detail.lease.holder, 200)]),
    detail.moving === undefined ? "" : block("moving", [movingText(detail.moving)]),
    expiry === null ? "" : block("expires", [`${expiry}, ${until(detail.expiresAt, now)}`]),
    detail.delayNotified ? block("sender", ["was told of the delay"]) : "",
    "\n",
    recipientsText(detail),
  ].join("");
}
