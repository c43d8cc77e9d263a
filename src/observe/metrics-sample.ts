import type { Registry } from "./registry.ts";

/** What is measured at a scrape. Absent: not known, and not shown. */
export interface MetricsSample {
  /** Messages by state. */
  readonly messages: Readonly<Record<string, number>>;
  readonly bytes: number;
  /** Age of the oldest message; `null` when the queue is empty. */
  readonly oldestSeconds: number | null;
  readonly corrupt: number;
  /** Requests to the store by kind, where each costs. */
  readonly requests?: Readonly<Record<string, number>>;
  readonly delivering: number;
  readonly waiting: number;
  readonly connections: { readonly open: number; readonly idle: number };
  readonly suspendedDestinations: number;
  /** Whether mail can be accepted durably. */
  readonly ready: boolean;
  readonly diskFreeBytes?: number;
  readonly diskFreeRatio?: number;
  readonly logLinesDropped?: number;
  readonly process: ProcessSample;
}

export interface ProcessSample {
  readonly residentBytes: number;
  readonly cpuSeconds: number;
}

/** What the platform says of this process. */
export function sampleProcess(): ProcessSample {
  const { user, system } = process.cpuUsage();
  return { residentBytes: process.memoryUsage.rss(), cpuSeconds: (user + system) / 1e6 };
}

/** Declares the measured metrics; the returned function takes one sample into them. */
export function describeSample(
  registry: Registry,
  build: Readonly<Record<string, string>>,
  startedAt: number,
): (sample: MetricsSample) => void {
  const gauge = (name: string, help: string) => registry.gauge(name, help).cell();
  const messages = registry.gauge("slimta_queue_messages", "Messages stored, by state.");
  const connections = registry.gauge(
    "slimta_connections",
    "Connections to next hops, by state: idle ones are open too.",
  );
  const bytes = gauge("slimta_queue_bytes", "Octets of content of the messages stored.");
  const oldest = gauge("slimta_queue_oldest_seconds", "Age of the oldest message; 0 when empty.");
  const delivering = gauge("slimta_queue_delivering", "Deliveries under way.");
  const waiting = gauge("slimta_queue_waiting", "Deliveries that are due and wait for their turn.");
  const suspended = gauge("slimta_destinations_suspended", "Destinations suspended by failures.");
  const ready = gauge("slimta_ready", "1 while mail can be accepted durably.");
  const corrupt = registry
    .counter("slimta_corrupt_total", "Damaged records moved aside since the store was made.")
    .cell();
  const resident = gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
  const cpu = registry
    .counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")
    .cell();
  gauge("process_start_time_seconds", "Start time since the Unix epoch in seconds.").value =
    startedAt / 1000;
  registry.gauge("slimta_build_info", "1, with the build in labels.").cell(build).value = 1;
  const optional = describeOptional(registry);

  return (sample) => {
    for (const [state, count] of Object.entries(sample.messages)) {
      messages.cell({ state }).value = count;
    }
    connections.cell({ state: "open" }).value = sample.connections.open;
    connections.cell({ state: "idle" }).value = sample.connections.idle;
    bytes.value = sample.bytes;
    oldest.value = sample.oldestSeconds ?? 0;
    delivering.value = sample.delivering;
    waiting.value = sample.waiting;
    suspended.value = sample.suspendedDestinations;
    ready.value = sample.ready ? 1 : 0;
    corrupt.value = sample.corrupt;
    resident.value = sample.process.residentBytes;
    cpu.value = sample.process.cpuSeconds;
    optional(sample);
  };
}

/** A family without a series is not shown, so that a value that is not known is not 0. */
function describeOptional(registry: Registry): (sample: MetricsSample) => void {
  const free = registry.gauge("slimta_disk_free_bytes", "Space that is free for mail.");
  const ratio = registry.gauge("slimta_disk_free_ratio", "Share of the file system that is free.");
  const dropped = registry.counter(
    "slimta_log_lines_dropped_total",
    "Log lines lost because nobody read them in time.",
  );
  const requests = registry.counter(
    "slimta_storage_requests_total",
    "Requests to a store that charges for each, by kind, repetitions included.",
  );
  return ({ diskFreeBytes, diskFreeRatio, logLinesDropped, requests: sent = {} }) => {
    for (const [kind, count] of Object.entries(sent)) requests.cell({ kind }).value = count;
    if (diskFreeBytes !== undefined) free.cell().value = diskFreeBytes;
    if (diskFreeRatio !== undefined) ratio.cell().value = diskFreeRatio;
    if (logLinesDropped !== undefined) dropped.cell().value = logLinesDropped;
  };
}
