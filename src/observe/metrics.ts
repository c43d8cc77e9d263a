import { unreachable } from "../lib/assert.ts";
import { destinationCounts } from "./destination-counts.ts";
import type { AcceptedEvent, DeliveryEvent, Emit, Event } from "./events.ts";
import { describeSample, type MetricsSample } from "./metrics-sample.ts";
import { type Cell, type Family, openRegistry, type Registry } from "./registry.ts";
import { cleanCommand, cleanWord } from "./sanitise.ts";

export interface MetricsOptions {
  readonly now: () => number;
  /** When this process started, in milliseconds since the epoch. */
  readonly startedAt: number;
  readonly build: Readonly<Record<string, string>>;
  /** What is not counted but measured: asked for at each scrape. */
  readonly sample: () => Promise<MetricsSample>;
}

/** What happened since the start, for people. */
export interface Totals {
  readonly accepted: number;
  readonly acceptedBytes: number;
  readonly refused: number;
  /** By recipient and attempt. */
  readonly sent: number;
  readonly deferred: number;
  readonly bounced: number;
  readonly expired: number;
}

export interface Metrics {
  /** Counts an event; a few additions, never throws. */
  readonly observe: Emit;
  /** The text format of Prometheus. Rejects when the sample cannot be taken. */
  render(): Promise<string>;
  totals(): Totals;
}

const ACCEPT_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
const STAGE_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600];
const AGE_BOUNDS = [0.01, 0.1, 0.5, 1, 5, 10, 60, 300, 900, 3600, 14_400, 86_400, 259_200, 432_000];
const STAGES = ["before", "queue", "setup", "transmission"] as const;

/** The metrics of a process: counted from events, and measured when asked. */
export function openMetrics(options: MetricsOptions): Metrics {
  const registry = openRegistry();
  const counts = messageCounts(registry, options.now);
  const others = otherCounts(registry);
  const measure = describeSample(registry, options.build, options.startedAt);
  return {
    observe(event) {
      if (event.kind === "accepted") counts.accepted(event);
      else if (event.kind === "delivery") counts.delivery(event);
      else others.count(event);
    },
    async render() {
      measure(await options.sample());
      return registry.render();
    },
    totals: () => ({ ...counts.totals(), ...others.totals() }),
  };
}

/** What happens to every message, with the cells at hand. */
function messageCounts(registry: Registry, now: () => number) {
  const received = registry.counter(
    "slimta_received_total",
    "Messages stored durably, after policies split them, by protocol.",
  );
  const tls = registry.counter(
    "slimta_tls_messages_total",
    "Messages received (in) and delivered (out), by the TLS version of the connection.",
  );
  const bytes = plain(registry, "slimta_received_bytes_total", "Octets of messages stored.");
  const recipients = plain(
    registry,
    "slimta_received_recipients_total",
    "Recipients of messages stored.",
  );
  const durations = registry
    .histogram(
      "slimta_receive_duration_seconds",
      "From the first byte of a transaction to its durable write.",
      ACCEPT_BOUNDS,
    )
    .cell();
  const deliveries = deliveryCounts(registry, tls, now);
  const receivedBy = lastUsed((protocol: string) =>
    received.cell({ protocol: knownProtocol(protocol) }),
  );
  const tlsBy = lastUsed((version: string | undefined) =>
    tls.cell({ direction: "in", version: tlsVersion(version) }),
  );
  let accepted = 0;
  return {
    accepted(event: AcceptedEvent) {
      accepted += 1;
      bytes.value += event.size;
      recipients.value += event.recipientCount;
      receivedBy(event.client.protocol).value += 1;
      tlsBy(event.client.tls).value += 1;
      durations.observe(event.durationMs / 1000);
    },
    delivery: deliveries.count,
    totals: () => ({ accepted, acceptedBytes: bytes.value, ...deliveries.totals() }),
  };
}

function deliveryCounts(registry: Registry, tls: Family, now: () => number) {
  const family = registry.counter(
    "slimta_delivery_total",
    "Delivery attempts per recipient, by result.",
  );
  const results = {
    sent: family.cell({ result: "sent" }),
    deferred: family.cell({ result: "deferred" }),
    bounced: family.cell({ result: "bounced" }),
  };
  const delays = registry.histogram(
    "slimta_delivery_delay_seconds",
    "Where the time of an attempt went, by stage (the a/b/c/d of the log).",
    STAGE_BOUNDS,
  );
  const stages = STAGES.map((stage) => delays.cell({ stage }));
  const ages = registry
    .histogram(
      "slimta_message_age_seconds",
      "From reception to delivery, per recipient.",
      AGE_BOUNDS,
    )
    .cell();
  const destinations = destinationCounts(registry);
  const tlsBy = lastUsed((version: string | undefined) =>
    tls.cell({ direction: "out", version: tlsVersion(version) }),
  );
  return {
    count(event: DeliveryEvent) {
      results[event.status].value += 1;
      destinations.count(event, now());
      for (let index = 0; index < stages.length; index += 1) {
        stages[index]?.observe((event.delaysMs[index] ?? 0) / 1000);
      }
      if (event.status !== "sent") return;
      ages.observe(event.delayMs / 1000);
      tlsBy(event.tls).value += 1;
    },
    totals: () => ({
      sent: results.sent.value,
      deferred: results.deferred.value,
      bounced: results.bounced.value,
    }),
  };
}

type OtherEvent = Exclude<Event, { kind: "accepted" | "delivery" }>;

function otherFamilies(registry: Registry) {
  return {
    rejected: registry.counter(
      "slimta_rejected_total",
      "Commands and messages of clients that were refused, by command and reply code.",
    ),
    clients: registry.counter(
      "slimta_client_events_total",
      "What client connections did, by listener.",
    ),
    expired: plain(registry, "slimta_expired_total", "Messages that outlived their lifetime."),
    notices: registry.counter("slimta_dsn_total", "Notifications stored, by action."),
    removed: plain(registry, "slimta_removed_total", "Messages that left the queue."),
    operator: registry.counter(
      "slimta_operator_messages_total",
      "Messages that operators acted on, by action.",
    ),
    errors: registry.counter(
      "slimta_storage_errors_total",
      "Times storage went bad, by operation.",
    ),
    failing: registry.gauge("slimta_storage_failing", "1 while storage does not work.").cell(),
    suspensions: plain(
      registry,
      "slimta_destination_suspensions_total",
      "Times a destination was suspended after failures.",
    ),
  };
}

/** What happens less often than mail. */
function otherCounts(registry: Registry) {
  const families = otherFamilies(registry);
  let refused = 0;
  const count = (event: OtherEvent): void => {
    switch (event.kind) {
      case "refused":
        refused += 1;
        families.rejected.cell(rejectionLabels(event.command, event.reply.code)).value += 1;
        return;
      case "client":
        families.clients.cell({ what: event.what, listener: cleanWord(event.listener) }).value += 1;
        return;
      case "expired":
        families.expired.value += 1;
        return;
      case "notification":
        families.notices.cell({ action: event.action }).value += 1;
        return;
      case "removed":
        families.removed.value += 1;
        return;
      case "operator":
        families.operator.cell({ action: event.action }).value += event.count;
        return;
      case "storage":
        families.failing.value = event.state === "failing" ? 1 : 0;
        if (event.state === "recovered") return;
        families.errors.cell({ op: cleanWord(event.operation) }).value += 1;
        return;
      case "destination":
        if (event.state === "suspended") families.suspensions.value += 1;
        return;
      // Damaged records are counted by storage, which remembers them over restarts.
      case "corrupt":
      case "lifecycle":
        return;
      default:
        unreachable(event);
    }
  };
  return { count, totals: () => ({ refused, expired: families.expired.value }) };
}

/** Most mail is like the mail before it: the cell of the last value is at hand. */
function lastUsed<T>(find: (value: T) => Cell): (value: T) => Cell {
  let last: { readonly value: T; readonly cell: Cell } | undefined;
  return (value) => {
    if (last === undefined || last.value !== value) last = { value, cell: find(value) };
    return last.cell;
  };
}

function plain(registry: Registry, name: string, help: string) {
  return registry.counter(name, help).cell();
}

function rejectionLabels(command: string, code: number) {
  return { command: cleanCommand(command), code: String(code) };
}

const PROTOCOL = /^(?:(?:E|UTF8)?SMTPS?A?|(?:UTF8)?LMTPS?A?|LOCAL|HTTPS?)$/u;

function knownProtocol(protocol: string): string {
  return PROTOCOL.test(protocol) ? protocol : "other";
}

function tlsVersion(tls: string | undefined): string {
  if (tls === undefined) return "none";
  return /^TLSv1(?:\.[0-3])?(?= |$)/u.exec(tls)?.[0] ?? "other";
}
