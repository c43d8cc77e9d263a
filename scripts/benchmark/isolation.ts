import { queueOf } from "../../tests/e2e/help.ts";
import { BINARY, type Daemon, startDaemon } from "../../tests/support/binary.ts";
import { type MailWorld, mailWorld } from "../../tests/support/mail-world.ts";
import { DRIP_BYTES, SICK_HOSTS, SILENT } from "../../tests/support/sick-hosts.ts";
import { type Sink, startSink } from "../../tests/support/sink.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import { until } from "../../tests/support/until.ts";
import { type Load, smtpSource } from "./load.ts";
import type { Measures, Setting } from "./measures.ts";
import {
  type Arrivals,
  arrivals,
  type Latencies,
  latencyText,
  pacedLatencies,
  timesLonger,
} from "./paced.ts";
import { cpuSeconds, settledCpuSeconds } from "./processes.ts";
import { median } from "./statistics.ts";

export const KEPT_SHARE = "throughput kept";
export const CPU_TIMES = "CPU per message, times";

/** Messages that wait for each sick destination while the healthy ones are measured. */
const SICK_MESSAGES = 200;
const SICK_BYTES = 10 * 1024;
/** Of those that take the room of many. */
const DRIP_MESSAGES = 5;
const WAIT_MS = 300_000;

interface Round {
  readonly rate: number;
  /** Seconds of CPU for a message. */
  readonly cpu: number;
  readonly latencies: Latencies;
}

/** What healthy destinations lose when others are sick: rounds with and without those in turn, the median of each. */
export async function isolation(setting: Setting): Promise<Measures> {
  const arrived = arrivals();
  await using world = await mailWorld({
    hosts: { ...SICK_HOSTS, timed: { onTaken: arrived.note } },
    others: ["sink"],
    silent: [SILENT],
  });
  const alone: Round[] = [];
  const beside: Round[] = [];
  for (let round = 0; round < setting.runs; round += 1) {
    for (const isSick of round % 2 === 0 ? [false, true] : [true, false]) {
      const measured = await measure(setting, world, arrived, isSick);
      (isSick ? beside : alone).push(measured);
      const { rate, cpu, latencies } = measured;
      const title = isSick ? "beside sick ones" : "alone";
      console.log(
        `  ${title}: ${rate.toFixed(0)} messages/s, ${(cpu * 1000).toFixed(2)} CPU s per 1000, ${latencyText(latencies)}`,
      );
    }
  }
  return summaryOf(alone, beside);
}

function summaryOf(alone: readonly Round[], beside: readonly Round[]): Measures {
  const rate = (rounds: readonly Round[]) => median(rounds.map((round) => round.rate));
  const cpu = (rounds: readonly Round[]) => median(rounds.map((round) => round.cpu));
  const latencies = (rounds: readonly Round[]) => rounds.map((round) => round.latencies);
  return {
    "messages/s alone": rate(alone),
    "messages/s beside": rate(beside),
    [KEPT_SHARE]: rate(beside) / rate(alone),
    "CPU s per 1000 alone": cpu(alone) * 1000,
    [CPU_TIMES]: cpu(beside) / cpu(alone),
    ...timesLonger(latencies(alone), latencies(beside)),
  };
}

/** One server on a fresh spool, with or without sick mail. */
async function measure(
  setting: Setting,
  world: MailWorld,
  arrived: Arrivals,
  isSick: boolean,
): Promise<Round> {
  await using dir = tempDir("bench", setting.parent);
  await using sink = await startSink([], { port: world.port });
  await using daemon = await startDaemon({
    command: [BINARY],
    spool: dir.join("spool"),
    args: [...world.args, "--set", "admin.socket=off", "--set", "shutdown.grace=0s"],
    outputFile: dir.join("log"),
  });
  const port = daemon.smtpPort;
  const well = { port, sessions: setting.sessions, bytes: setting.bytes, reuse: true };
  await smtpSource({ ...well, messages: setting.warmup, to: "recipient@sink.test" });
  await sink.received(setting.warmup, WAIT_MS);
  if (isSick) await sicken(daemon);
  const cpuBefore = cpuSeconds(daemon.pid);
  const rate = await throughput(setting, sink, well);
  const cpu = ((await settledCpuSeconds(daemon.pid)) - cpuBefore) / setting.messages;
  const latencies = await pacedLatencies({ port, arrivals: arrived });
  return { rate, cpu, latencies };
}

/** Mail for every sick destination, as much at once as each is trusted with; resolves when it is on its way. */
async function sicken(daemon: Daemon): Promise<void> {
  const { smtpPort: port } = daemon;
  const hosts = [...Object.keys(SICK_HOSTS), SILENT];
  for (const host of hosts) {
    const isDrip = host === "drip";
    const messages = isDrip ? DRIP_MESSAGES : SICK_MESSAGES;
    const bytes = isDrip ? DRIP_BYTES : SICK_BYTES;
    await smtpSource({ port, messages, bytes, sessions: 5, reuse: true, to: `r@${host}.test` });
  }
  const all = hosts.length * SICK_MESSAGES - SICK_MESSAGES + DRIP_MESSAGES;
  const isUnderWay = async () => {
    const { size, delivering } = await queueOf(daemon);
    return size === all && delivering >= 5 * hosts.length;
  };
  await until("sick mail is under way", isUnderWay, WAIT_MS);
}

/** From the first connection until the next hop has taken the last message. */
async function throughput(
  { messages }: Setting,
  sink: Sink,
  well: Omit<Load, "messages">,
): Promise<number> {
  const before = sink.count();
  const startedAt = performance.now();
  const sent = smtpSource({ ...well, messages, to: "recipient@sink.test" });
  await Promise.all([sent, sink.received(before + messages, WAIT_MS)]);
  return messages / ((performance.now() - startedAt) / 1000);
}
