import { freePort } from "../../tests/support/free-port.ts";
import { type Sink, startSink } from "../../tests/support/sink.ts";
import { until } from "../../tests/support/until.ts";
import { type Contender, type ContenderName, startContender } from "./contender.ts";
import { finalDotLatencies, type Load, smtpSource } from "./load.ts";
import { cpuSeconds, settledCpuSeconds } from "./processes.ts";
import { quantile } from "./statistics.ts";

/** What one run of a case measured, by the name of the measure. */
export type Measures = Readonly<Record<string, number>>;

export const RATE = "messages/s";
export const CPU = "CPU s per 1000";
export const P50 = "p50 ms";
export const P99 = "p99 ms";

export interface Setting {
  readonly messages: number;
  /** Sent before anything is measured: what is compared is a server that has been running. */
  readonly warmup: number;
  readonly sessions: number;
  readonly bytes: number;
  readonly parent: string;
  /** Rounds of the cases that interleave by themselves. */
  readonly runs: number;
}

/** Something that both can do, so that a run of one can be set beside a run of the other. */
export interface ComparedCase {
  readonly name: string;
  readonly title: string;
  run(contender: ContenderName, setting: Setting): Promise<Measures>;
}

const WAIT_MS = 300_000;

/** All cases that are run side by side. */
export const COMPARED: readonly ComparedCase[] = [
  accept("accept-reused", "accept, connections reused", true),
  accept("accept-single", "accept, one message per connection", false),
  relay("relay-reused", "accept and relay, connections reused", true),
  relay("relay-single", "accept and relay, one message per connection", false),
  latency("latency", "final dot to 250", false),
  latency("latency-relay", "final dot to 250 while relaying", true),
  drain("drain", "drain what waits for a next hop, after a flush"),
];

function loadOn(contender: Contender, setting: Setting, reuse: boolean): Load {
  const { messages, sessions, bytes } = setting;
  return { port: contender.smtpPort, messages, sessions, bytes, reuse };
}

/** Mail that is not measured; resolves when the server has come to rest. */
async function warmUp(contender: Contender, setting: Setting, sink?: Sink): Promise<void> {
  if (setting.warmup === 0) return;
  await smtpSource({ ...loadOn(contender, setting, true), messages: setting.warmup });
  await sink?.received(setting.warmup, WAIT_MS);
  await settledCpuSeconds(contender.pid);
}

/** From the first connection until the last 250, with no deliveries. CPU is taken once the server is quiet. */
function accept(name: string, title: string, reuse: boolean): ComparedCase {
  return {
    name,
    title,
    async run(who, setting) {
      await using contender = await startContender(who, { ...setting, nextHop: "none" });
      await warmUp(contender, setting);
      const cpuBefore = cpuSeconds(contender.pid);
      const seconds = await smtpSource(loadOn(contender, setting, reuse));
      const cpu = (await settledCpuSeconds(contender.pid)) - cpuBefore;
      const queued = await contender.queued();
      if (queued !== setting.warmup + setting.messages)
        throw new Error(`${who} keeps ${queued} messages`);
      return rates(setting.messages, seconds, cpu);
    },
  };
}

/** From the first connection until the next hop has taken the last message. */
function relay(name: string, title: string, reuse: boolean): ComparedCase {
  return {
    name,
    title,
    async run(who, setting) {
      await using sink = await startSink();
      await using contender = await startContender(who, { ...setting, nextHop: sink.port });
      await warmUp(contender, setting, sink);
      const all = setting.warmup + setting.messages;
      const cpuBefore = cpuSeconds(contender.pid);
      const startedAt = performance.now();
      const sent = smtpSource(loadOn(contender, setting, reuse));
      await Promise.all([sent, sink.received(all, WAIT_MS)]);
      const seconds = (performance.now() - startedAt) / 1000;
      const cpu = (await settledCpuSeconds(contender.pid)) - cpuBefore;
      await deliveredOnce(sink, contender, all);
      return rates(setting.messages, seconds, cpu);
    },
  };
}

function rates(messages: number, seconds: number, cpu: number): Measures {
  return { [RATE]: messages / seconds, [CPU]: (cpu * 1000) / messages };
}

/** A server that loses or repeats is not compared. */
async function deliveredOnce(sink: Sink, contender: Contender, messages: number): Promise<void> {
  await until("an empty queue", async () => (await contender.queued()) === 0, WAIT_MS);
  if (sink.count() !== messages) throw new Error(`the next hop took ${sink.count()} messages`);
}

function latency(name: string, title: string, relaying: boolean): ComparedCase {
  return {
    name,
    title,
    async run(who, setting) {
      await using sink = relaying ? await startSink() : undefined;
      const nextHop = sink?.port ?? "none";
      await using contender = await startContender(who, { ...setting, nextHop });
      await warmUp(contender, setting, sink);
      const latencies = await finalDotLatencies(loadOn(contender, setting, true));
      await sink?.received(setting.warmup + setting.messages, WAIT_MS);
      return { [P50]: quantile(latencies, 0.5), [P99]: quantile(latencies, 0.99) };
    },
  };
}

/** From the flush of deferred messages until the next hop, back by now, has taken the last one. */
function drain(name: string, title: string): ComparedCase {
  return {
    name,
    title,
    async run(who, setting) {
      const port = await freePort();
      await using contender = await startContender(who, { ...setting, nextHop: port });
      await smtpSource(loadOn(contender, setting, true));
      const allWait = async () => (await contender.waiting()) === setting.messages;
      await until("all messages wait for the next hop", allWait, WAIT_MS);
      await settledCpuSeconds(contender.pid);
      await using sink = await startSink([], { port });
      const cpuBefore = cpuSeconds(contender.pid);
      const startedAt = performance.now();
      await contender.flush();
      await sink.received(setting.messages, WAIT_MS);
      const seconds = (performance.now() - startedAt) / 1000;
      const cpu = (await settledCpuSeconds(contender.pid)) - cpuBefore;
      await deliveredOnce(sink, contender, setting.messages);
      return rates(setting.messages, seconds, cpu);
    },
  };
}
