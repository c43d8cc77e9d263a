import type { Sink } from "../../tests/support/sink.ts";
import { until } from "../../tests/support/until.ts";
import type { Contender } from "./contender.ts";
import { type Load, smtpSource } from "./load.ts";
import { CPU, type Measures, RATE, type Setting } from "./measures.ts";
import { cpuSeconds, settledCpuSeconds } from "./processes.ts";

/** How long a server may take for what is asked of it. */
export const WAIT_MS = 300_000;

/** From the first connection until the last 250, with no deliveries. CPU is taken once the server is quiet. */
export async function measureAccept(
  contender: Contender,
  setting: Setting,
  reuse: boolean,
): Promise<Measures> {
  await warmUp(contender, setting);
  const measures = await measured(contender, setting.messages, () =>
    smtpSource(loadOn(contender, setting, reuse)),
  );
  const all = setting.warmup + setting.messages;
  await until("everything is kept", async () => (await contender.queued()) === all);
  return measures;
}

/** From the first connection until the next hop has taken the last message. */
export async function measureRelay(
  contender: Contender,
  sink: Sink,
  setting: Setting,
  reuse: boolean,
): Promise<Measures> {
  await warmUp(contender, setting, sink);
  const all = setting.warmup + setting.messages;
  const measures = await measured(contender, setting.messages, async () => {
    const sent = smtpSource(loadOn(contender, setting, reuse));
    await Promise.all([sent, sink.received(all, WAIT_MS)]);
  });
  await deliveredOnce(sink, contender, all);
  return measures;
}

/** How fast the work was done, and the CPU of each process that took part. */
export async function measured(
  contender: Contender,
  messages: number,
  work: () => Promise<unknown>,
): Promise<Measures> {
  const servers = Object.entries(contender.servers);
  const cpuBefore = cpuSeconds(contender.pid);
  const serversBefore = servers.map(([, pid]) => cpuSeconds(pid));
  const startedAt = performance.now();
  await work();
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = (await settledCpuSeconds(contender.pid)) - cpuBefore;
  const perThousand = (cpuOfAll: number) => (cpuOfAll * 1000) / messages;
  const ofServers = servers.map(([name, pid], index) => {
    const used = cpuSeconds(pid) - (serversBefore[index] ?? 0);
    return [`${CPU}, ${name}`, perThousand(used)];
  });
  return {
    [RATE]: messages / seconds,
    [CPU]: perThousand(cpu),
    ...Object.fromEntries(ofServers),
  };
}

/** The load of a setting. */
export function loadOn(contender: Contender, setting: Setting, reuse: boolean): Load {
  const { messages, sessions, bytes } = setting;
  return { port: contender.smtpPort, messages, sessions, bytes, reuse };
}

/** Mail that is not measured; resolves when the server has come to rest. */
export async function warmUp(contender: Contender, setting: Setting, sink?: Sink): Promise<void> {
  if (setting.warmup === 0) return;
  await smtpSource({ ...loadOn(contender, setting, true), messages: setting.warmup });
  await sink?.received(setting.warmup, WAIT_MS);
  await settledCpuSeconds(contender.pid);
}

/** A server that loses or repeats is not compared. */
export async function deliveredOnce(
  sink: Sink,
  contender: Contender,
  messages: number,
): Promise<void> {
  await until("an empty queue", async () => (await contender.queued()) === 0, WAIT_MS);
  if (sink.count() !== messages) throw new Error(`the next hop took ${sink.count()} messages`);
}
