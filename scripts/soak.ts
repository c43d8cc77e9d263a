/** Keeps ./slimta-queue under a mixed load and writes a report on what became of its memory and its clients. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY, startDaemon } from "../tests/support/binary.ts";
import { scriptFlags } from "../tests/support/flags.ts";
import { seededRandom, testSeed } from "../tests/support/seeded.ts";
import { fileSystem, machineFacts, spoolsDir } from "./benchmark/machine.ts";
import { fillSpool } from "./endurance/backlog.ts";
import { startLoad } from "./endurance/load.ts";
import { mixedLoad } from "./endurance/mix.ts";
import { startOperator } from "./endurance/operator.ts";
import {
  CONNECTIONS_MAX,
  PER_CLIENT_MAX,
  PHASES,
  SILENCE_MS,
  TRUSTED,
} from "./endurance/phases.ts";
import type { Band } from "./endurance/plot.ts";
import { type Finding, type Run, verdictText, writeReport } from "./endurance/report.ts";
import { openSampler, type Sample } from "./endurance/sampler.ts";
import { enduranceWorld, flicker, passes } from "./endurance/world.ts";

const HELP = `scripts/soak [flags]: an hour of mixed load, and a report with plots

  --minutes N     how long (60), at least 12; a quarter of it is warm-up
  --rate N        transactions in a second (60)
  --backlog N     deferred messages that lie in the queue all the time (100000)
  --report DIR    where the report goes (default: a new directory in the system's temporary directory)
  --dir DIR       where the spool lies (default: the system's temporary directory)
  --seed N        the dice of the load and of the next hops (any; the report names it)

The exit code is 1 when memory grew or a phase did not go as it must, else 0. The report is written anew each minute.`;

const {
  values: flags,
  number,
  refuse,
} = scriptFlags("soak", HELP, {
  minutes: { type: "string", default: "60" },
  rate: { type: "string", default: "60" },
  backlog: { type: "string", default: "100000" },
  report: { type: "string" },
  dir: { type: "string", default: tmpdir() },
  seed: { type: "string", default: String(testSeed()) },
});

const SESSIONS = 20;
const QUARTERS = 4;
const SAMPLE_MS = 5000;
const REPORT_MS = 60_000;
/** The least length of a run: a quarter has to hold all phases. */
const MINUTES_MIN = 12;
/** Attempts that the backlog has behind it: all waits of RETRY but the last. */
const BACKLOG_ATTEMPTS = 6;
const RETRY = "5s,15s,30s,1m,2m,5m,1h";
const BACKLOG_SPREAD_MS = 60 * 60_000;
const BACKLOG_DOMAINS = 5000;
/** What the clock of the daemon's output keeps. */
const OUTPUT_CHARS = 64 * 1024;

const seed = number("seed", { whole: true });
const setting = {
  minutes: number("minutes", { least: MINUTES_MIN }),
  rate: number("rate", { least: 1 }),
  backlog: number("backlog", { whole: true }),
  seed,
};
const reportDir = flags.report ?? join(tmpdir(), `slimta-queue-soak-${seed}`);
if (fileSystem(flags.dir) === "tmpfs") refuse(`${flags.dir} is in memory: name a disk by --dir`);
process.exit((await main()) ? 0 : 1);

async function main(): Promise<boolean> {
  const over = new AbortController();
  const parent = spoolsDir(flags.dir);
  const spool = parent.join("spool");
  const random = seededRandom(seed);
  let taken = 0;
  await using world = await enduranceWorld(random, (recipients) => {
    taken += recipients.length;
  });
  console.log(`putting ${setting.backlog} deferred messages into the spool`);
  const filledAt = Date.now();
  await fillSpool(spool, {
    messages: setting.backlog,
    recipient: (index) => `w${index}@d${index % BACKLOG_DOMAINS}.defer.test`,
    due: (index) => filledAt + (index / setting.backlog) * BACKLOG_SPREAD_MS,
    attempts: BACKLOG_ATTEMPTS,
  });
  await using daemon = await startDaemon({
    command: [BINARY],
    spool,
    args: [...world.args, ...daemonSettings()],
    outputCharsMax: OUTPUT_CHARS,
  });
  void daemon.exited.then(() => over.abort());
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1000;
  const facts = await machineFacts(flags.dir);
  const load = startLoad({
    port: daemon.smtpPort,
    sessions: SESSIONS,
    rate: setting.rate,
    plan: mixedLoad(random),
    random,
    until: over.signal,
  });
  const operations = startOperator(daemon, random, over.signal);
  const flickering = flicker(world, over.signal);
  const bands: Band[] = [];
  const findings: Finding[] = [];
  let phase = "";
  const samples: Sample[] = [];
  const sample = await openSampler({ daemon, spool, load, seconds, phase: () => phase });

  const runNow = (isOver: boolean): Run => ({
    command: `scripts/soak ${process.argv.slice(2).join(" ")}`.trim(),
    facts,
    setting: {
      ...setting,
      settings: daemonSettings()
        .filter((each) => each !== "--set")
        .join(" "),
    },
    warmUpSeconds: (setting.minutes * 60) / QUARTERS,
    samples,
    bands,
    findings,
    counts: countsOf(load, operations, taken),
    isOver,
  });

  const sampling = async () => {
    while (!(await passes(SAMPLE_MS, over.signal))) samples.push(await sample());
  };
  const reporting = async () => {
    while (!(await passes(REPORT_MS, over.signal))) {
      console.log(lineOf(samples.at(-1)));
      writeReport(reportDir, runNow(false));
    }
  };
  const crowding = async () => {
    const quarter = (setting.minutes * 60) / QUARTERS;
    const target = { port: daemon.smtpPort, pid: daemon.pid, until: over.signal };
    for (let begun = 0; begun < QUARTERS; begun += 1) {
      for (const each of PHASES) {
        const due = (begun + each.at) * quarter - seconds();
        if (await passes(Math.max(0, due) * 1000, over.signal)) return;
        const from = seconds();
        phase = each.name;
        const finding = await each.run(target);
        findings.push(finding);
        bands.push({ name: each.name, from, to: seconds() });
        phase = "";
        console.log(`${finding.isGood ? "ok" : "NOT OK"}: ${finding.name}: ${finding.text}`);
      }
    }
  };
  const timing = async () => {
    await passes(setting.minutes * 60_000, over.signal);
    over.abort();
  };
  const results = await Promise.allSettled([sampling(), reporting(), crowding(), timing()]);
  over.abort();
  await Promise.all([load.ended, operations.ended, flickering]);
  for (const result of results) if (result.status === "rejected") console.error(result.reason);
  findings.push(survival(seconds()), flow(operations.failed));
  const run = runNow(true);
  const verdict = writeReport(reportDir, run);
  console.log(`${verdictText(verdict, run)}\nthe report is ${join(reportDir, "report.md")}`);
  return verdict.isFlat !== false && findings.every(({ isGood }) => isGood);
}

/** The server must be there for all of its time. */
function survival(lived: number): Finding {
  const isGood = lived >= setting.minutes * 60;
  return { name: "the server", text: `ran for ${(lived / 60).toFixed(1)} minutes`, isGood };
}

function flow(failed: ReadonlyMap<string, number>): Finding {
  const text = [...failed].map(([name, times]) => `${name} (${times})`).join("; ");
  return {
    name: "queue operations",
    text: text === "" ? "all succeeded" : text,
    isGood: failed.size === 0,
  };
}

function daemonSettings(): readonly string[] {
  const timeouts = ["connect", "greeting", "command", "data", "block", "end"].map(
    (step) => `relay.timeout.${step}=15s`,
  );
  const settings = [
    ...["admin.socket=off", `queue.retry=${RETRY}`, "queue.delay_notice=1m"],
    ...["relay.timeout.dns=5s", ...timeouts, `smtp.trust=${TRUSTED}`],
    ...[`smtp.timeout=${SILENCE_MS / 1000}s`, `smtp.connections_max=${CONNECTIONS_MAX}`],
    ...[`smtp.connections_per_client_max=${PER_CLIENT_MAX}`, "smtp.hostname=queue.test"],
    ...["spool.free_min=0", "spool.free_min_percent=0%"],
  ];
  return settings.flatMap((each) => ["--set", each]);
}

function countsOf(
  load: ReturnType<typeof startLoad>,
  operations: ReturnType<typeof startOperator>,
  taken: number,
): Readonly<Record<string, number>> {
  const prefixed = (prefix: string, counts: ReadonlyMap<string, number>) =>
    Object.fromEntries([...counts].map(([name, times]) => [`${prefix}: ${name}`, times]));
  return {
    transactions: load.transactions,
    "recipients accepted": load.recipients,
    "octets accepted": load.bytes,
    "recipients that next hops took": taken,
    ...prefixed("clients that were told", load.refusals),
    ...prefixed("operator", operations.done),
    ...prefixed("operator failed", operations.failed),
  };
}

function lineOf(sample: Sample | undefined): string {
  if (sample === undefined) return "no sample yet";
  const { seconds, residentMb, cpuPercent, queued, acceptedRate, p50Ms, p99Ms } = sample;
  const latency = `p50 ${p50Ms?.toFixed(1)} ms, p99 ${p99Ms?.toFixed(1)} ms`;
  return `${(seconds / 60).toFixed(0)} min: ${residentMb.toFixed(0)} MB, ${cpuPercent.toFixed(0)} % CPU, ${queued} queued, ${acceptedRate.toFixed(0)}/s stored, ${latency}`;
}
