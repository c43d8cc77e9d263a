import { expect, test } from "bun:test";
import fc from "fast-check";
import { METRIC_DESTINATIONS_MAX, METRIC_IDLE_MS } from "../../src/observe/destination-counts.ts";
import type { Event } from "../../src/observe/events.ts";
import { openMetrics } from "../../src/observe/metrics.ts";
import { type MetricsSample, sampleProcess } from "../../src/observe/metrics-sample.ts";
import { openRegistry, SERIES_MAX } from "../../src/observe/registry.ts";
import { parseExposition } from "./exposition.ts";
import { ACCEPTED, CLIENT, EVERY_KIND, SENT } from "./log-events.ts";

const SAMPLE: MetricsSample = {
  messages: { incoming: 1, active: 2, deferred: 3, hold: 4 },
  bytes: 5000,
  oldestSeconds: 60,
  corrupt: 1,
  delivering: 2,
  waiting: 3,
  connections: { open: 4, idle: 1 },
  suspendedDestinations: 1,
  ready: true,
  process: { residentBytes: 1e8, cpuSeconds: 1.5 },
};

function metricsAt(start = 0, sample: MetricsSample = SAMPLE) {
  const time = { now: start };
  const metrics = openMetrics({
    now: () => time.now,
    startedAt: 1_000_000,
    build: { version: "0.1.0", commit: 'a"b\\c\nd' },
    sample: async () => sample,
  });
  const scrape = async () => parseExposition(await metrics.render());
  const read = async (name: string, labels: Record<string, string> = {}) =>
    (await scrape())
      .get(name.replace(/_(?:bucket|sum|count)$/u, ""))
      ?.samples.find((one) => one.name === name && Bun.deepEquals(one.labels, labels))?.value;
  return { ...metrics, scrape, read, time };
}

test("every kind of event is counted, and the scrape is valid", async () => {
  const { observe, read, scrape } = metricsAt();
  for (const event of EVERY_KIND) observe(event);
  expect([...(await scrape()).keys()].every((name) => /^(slimta|process)_/u.test(name))).toBe(true);
  expect(await read("slimta_received_total", { protocol: "ESMTPSA" })).toBe(1);
  expect(await read("slimta_received_bytes_total")).toBe(1234);
  expect(await read("slimta_received_recipients_total")).toBe(2);
  expect(await read("slimta_delivery_total", { result: "sent" })).toBe(1);
  expect(await read("slimta_delivery_total", { result: "deferred" })).toBe(0);
  expect(await read("slimta_tls_messages_total", { direction: "in", version: "TLSv1.3" })).toBe(1);
  expect(await read("slimta_rejected_total", { command: "RCPT", code: "250" })).toBe(1);
  expect(await read("slimta_client_events_total", { what: "connected", listener: "smtp" })).toBe(1);
  expect(await read("slimta_expired_total")).toBe(1);
  expect(await read("slimta_dsn_total", { action: "failed" })).toBe(1);
  expect(await read("slimta_removed_total")).toBe(1);
  expect(await read("slimta_operator_messages_total", { action: "hold" })).toBe(1);
  expect(await read("slimta_storage_errors_total", { op: "write" })).toBe(1);
  expect(await read("slimta_storage_failing")).toBe(1);
  expect(await read("slimta_destination_suspensions_total")).toBe(1);
  observe({ kind: "storage", state: "recovered", operation: "write", reason: "" });
  expect(await read("slimta_storage_failing")).toBe(0);
});

test("times are seconds, in the bucket whose bound they do not exceed", async () => {
  const { observe, read } = metricsAt();
  observe(SENT);
  const name = "slimta_delivery_delay_seconds";
  expect(await read(`${name}_sum`, { stage: "transmission" })).toBe(0.74);
  expect(await read(`${name}_bucket`, { stage: "before", le: "0.05" })).toBe(1);
  expect(await read(`${name}_bucket`, { stage: "before", le: "0.01" })).toBe(0);
  expect(await read("slimta_message_age_seconds_sum")).toBe(1.204);
  observe({ ...SENT, status: "deferred" });
  expect(await read("slimta_message_age_seconds_count")).toBe(1);
});

test("what is measured is asked for at each scrape; what is not known is not shown", async () => {
  const { read, scrape } = metricsAt();
  expect(await read("slimta_queue_messages", { state: "hold" })).toBe(4);
  expect(await read("slimta_queue_oldest_seconds")).toBe(60);
  expect(await read("slimta_connections", { state: "idle" })).toBe(1);
  expect(await read("process_start_time_seconds")).toBe(1000);
  expect(await read("slimta_build_info", { version: "0.1.0", commit: 'a"b\\c\nd' })).toBe(1);
  expect((await scrape()).has("slimta_disk_free_bytes")).toBe(false);
  expect((await scrape()).has("slimta_storage_requests_total")).toBe(false);
  const requests = { PUT: 12, GET: 0 };
  const full = metricsAt(0, { ...SAMPLE, diskFreeBytes: 0, requests, process: sampleProcess() });
  expect(await full.read("slimta_storage_requests_total", { kind: "PUT" })).toBe(12);
  expect(await full.read("slimta_storage_requests_total", { kind: "GET" })).toBe(0);
  expect(await full.read("slimta_disk_free_bytes")).toBe(0);
  expect(await full.read("process_resident_memory_bytes")).toBeGreaterThan(1e6);
});

test("destinations beyond the limit are counted as other, until one falls idle", async () => {
  const { observe, read, scrape, time } = metricsAt();
  const deliver = (destination: string) => observe({ ...SENT, destination });
  for (let n = 0; n <= METRIC_DESTINATIONS_MAX; n += 1) deliver(`d${n}.example`);
  const name = "slimta_destination_delivery_total";
  const last = { destination: `d${METRIC_DESTINATIONS_MAX}.example`, result: "sent" };
  expect(await read(name, { destination: "other", result: "sent" })).toBe(1);
  expect(await read(name, last)).toBeUndefined();

  time.now += METRIC_IDLE_MS;
  deliver("d0.example");
  deliver(last.destination);
  expect(await read(name, last)).toBe(1);
  expect(await read(name, { destination: "d0.example", result: "sent" })).toBe(2);
  expect(await read(name, { destination: "d1.example", result: "sent" })).toBeUndefined();
  const series = (await scrape()).get(name)?.samples.length;
  expect(series).toBe(3 * (METRIC_DESTINATIONS_MAX + 1));
});

test("a destination that calls itself other is other", async () => {
  const { observe, read } = metricsAt();
  observe({ ...SENT, destination: "other" });
  const labels = { destination: "other", result: "sent" };
  expect(await read("slimta_destination_delivery_total", labels)).toBe(1);
});

test("whatever clients and destinations call themselves, the scrape is valid and bounded", async () => {
  const word = fc.string({ unit: "binary", maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 30 }), async (words) => {
      const { observe, scrape } = metricsAt();
      for (const text of words) {
        const client = { ...CLIENT, protocol: text, tls: text };
        const events: Event[] = [
          { ...ACCEPTED, client } as Event,
          { ...SENT, destination: text, tls: text },
          { kind: "refused", client, command: text, reply: { code: 550, enhanced: "5.0.0", text } },
          { kind: "client", what: "connected", ip: text, listener: text },
        ];
        for (const event of events) observe(event);
      }
      const metrics = await scrape();
      expect(metrics.get("slimta_received_total")?.samples.length ?? 0).toBeLessThanOrEqual(20);
    }),
    { numRuns: 50 },
  );
});

test("a metric has a limited number of series", () => {
  const registry = openRegistry();
  const family = registry.gauge("some_gauge", "Something.");
  for (let n = 0; n <= SERIES_MAX; n += 1) family.cell({ n: String(n) }).value = n;
  const series = parseExposition(registry.render()).get("some_gauge")?.samples;
  expect(series).toHaveLength(SERIES_MAX);
  family.drop({ n: "0" });
  family.cell({ n: "again" }).value = 1;
  expect(parseExposition(registry.render()).get("some_gauge")?.samples).toHaveLength(SERIES_MAX);
  expect(() => registry.gauge("some_gauge", "Twice.")).toThrow("bad metric name");
});

test("the totals are what the front page tells", () => {
  const { observe, totals } = metricsAt();
  for (const event of EVERY_KIND) observe(event);
  observe({ ...SENT, status: "bounced" });
  expect(totals()).toEqual({
    accepted: 1,
    acceptedBytes: 1234,
    refused: 1,
    sent: 1,
    deferred: 0,
    bounced: 1,
    expired: 1,
  });
});
