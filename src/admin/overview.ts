import { printable } from "../mail/reply.ts";
import type { Totals } from "../observe/metrics.ts";
import type { QueueStatus } from "../queue/control.ts";
import { ENDPOINTS } from "./endpoints.ts";
import type { ReadyReport } from "./ready.ts";
import { instant, queueJson } from "./shapes.ts";
import { block, COLUMNS, folded, LABEL_COLUMNS, queueText } from "./text.ts";
import { count, duration, plural, rate, size } from "./words.ts";

/** Everything that the front page tells. */
export interface Overview {
  readonly version: string;
  readonly hostname: string;
  readonly startedAt: number;
  readonly now: number;
  readonly ready: ReadyReport;
  readonly totals: Totals;
  /** `undefined` when storage does not answer. */
  readonly queue: QueueStatus | undefined;
}

export function overviewJson(overview: Overview) {
  const { version, hostname, startedAt, now, ready, totals, queue } = overview;
  return {
    name: "slimta-queue",
    version,
    hostname,
    started_at: instant(startedAt),
    uptime_seconds: Math.round((now - startedAt) / 1000),
    ready,
    since_start: {
      accepted: totals.accepted,
      accepted_bytes: totals.acceptedBytes,
      refused: totals.refused,
      sent: totals.sent,
      deferred: totals.deferred,
      bounced: totals.bounced,
      expired: totals.expired,
    },
    queue: queue === undefined ? null : queueJson(queue, now),
    endpoints: ENDPOINTS,
  };
}

/** The front page for a terminal: the story first, then what else can be asked. `base` is how this was asked. */
export function overviewText(overview: Overview, base: string): string {
  const { version, hostname, startedAt, now, queue } = overview;
  const up = duration((now - startedAt) / 1000);
  return [
    `slimta-queue ${version} on ${hostname}, up ${up}\n\n`,
    readyText(overview),
    queue === undefined ? block("queue", ["storage does not answer"]) : "",
    sinceStart(overview),
    queue === undefined ? "" : queueText(queue, now),
    "\nAsk more:\n",
    ...ENDPOINTS.slice(1).map(({ call, about }) => `  ${call.padEnd(30)}${about}\n`),
    `\nFor example:\n  curl '${base}/v1/messages?format=text'\n  curl -X POST ${base}/v1/flush\n`,
  ].join("");
}

function readyText({ ready, queue }: Overview): string {
  const faults = Object.entries(ready.checks)
    .filter(([, text]) => text !== "ok")
    .map(([name, text]) => `${name}: ${text}`);
  if (queue?.refusal !== undefined && faults.length === 0) faults.push(queue.refusal);
  if (ready.status === "ready" && faults.length === 0) {
    const isRelayOnly = !("smtp" in ready.checks);
    return block("READY", [isRelayOnly ? "mail of the store is relayed" : "mail is accepted"]);
  }
  const reasons = faults.length === 0 ? ["no reason given"] : faults;
  return block(
    ready.status === "ready" ? "READY, BUT" : "NOT READY",
    reasons.flatMap((fault) => folded(printable(fault, 400), COLUMNS - LABEL_COLUMNS)),
  );
}

function sinceStart({ totals, startedAt, now }: Overview): string {
  const seconds = (now - startedAt) / 1000;
  const per = (events: number) => (events === 0 ? "" : ` (${rate(events, seconds)})`);
  const { accepted, acceptedBytes, refused, sent, deferred, bounced, expired } = totals;
  const volume = accepted === 0 ? "" : `, ${size(acceptedBytes)}`;
  return block("since start", [
    `in:  ${plural(accepted, "message")}${per(accepted)}${volume}; ${count(refused)} refused`,
    `out: ${count(sent)} sent${per(sent)}`,
    `     ${count(deferred)} deferred, ${count(bounced)} bounced, ${count(expired)} expired`,
  ]);
}
