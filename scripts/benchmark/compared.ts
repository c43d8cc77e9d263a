import { freePort } from "../../tests/support/free-port.ts";
import { startSink } from "../../tests/support/sink.ts";
import { until } from "../../tests/support/until.ts";
import { type ContenderName, startContender } from "./contender.ts";
import { finalDotLatencies, smtpSource } from "./load.ts";
import {
  deliveredOnce,
  loadOn,
  measureAccept,
  measured,
  measureRelay,
  WAIT_MS,
  warmUp,
} from "./measured.ts";
import { type Measures, P50, P99, type Setting } from "./measures.ts";
import { settledCpuSeconds } from "./processes.ts";
import { quantile } from "./statistics.ts";

/** Something that both can do, so that a run of one can be set beside a run of the other. */
export interface ComparedCase {
  readonly name: string;
  readonly title: string;
  run(contender: ContenderName, setting: Setting): Promise<Measures>;
}

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

function accept(name: string, title: string, reuse: boolean): ComparedCase {
  return {
    name,
    title,
    async run(who, setting) {
      await using contender = await startContender(who, { ...setting, nextHop: "none" });
      return await measureAccept(contender, setting, reuse);
    },
  };
}

function relay(name: string, title: string, reuse: boolean): ComparedCase {
  return {
    name,
    title,
    async run(who, setting) {
      await using sink = await startSink();
      await using contender = await startContender(who, { ...setting, nextHop: sink.port });
      return await measureRelay(contender, sink, setting, reuse);
    },
  };
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
      const measures = await measured(contender, setting.messages, async () => {
        await contender.flush();
        await sink.received(setting.messages, WAIT_MS);
      });
      await deliveredOnce(sink, contender, setting.messages);
      return measures;
    },
  };
}
