/** Measures ./slimta-queue, alone and side by side with Postfix. The promises it checks are in benchmark/floors.ts. */
import { tmpdir } from "node:os";
import { scriptFlags } from "../tests/support/flags.ts";
import { whyNoPeer } from "../tests/support/peers.ts";
import { ALONE, type AloneCase } from "./benchmark/alone.ts";
import { COMPARED } from "./benchmark/compared.ts";
import type { ContenderName } from "./benchmark/contender.ts";
import { fileSystem, machineFacts, spoolsDir } from "./benchmark/machine.ts";
import type { Measures, Setting } from "./benchmark/measures.ts";
import { type CaseRuns, figure, rowsOf, tableOf } from "./benchmark/report.ts";

const HELP = `scripts/bench [flags]: measures ./slimta-queue side by side with a private Postfix (as root)

  --only NAME        only this case; may be repeated. Cases: ${names()}
  --million          also the case "million" (loading takes minutes)
  --stores           also all cases of stores that nodes share, those aside whose programs are missing
  --quick            4,000 messages a run and 3 runs, instead of 20,000 and 5
  --runs N           runs of each case and contender, interleaved
  --messages N       messages of a run
  --warmup N         messages before each of them, not measured (10,000; --quick 4,000; 0 measures cold servers)
  --without-postfix  ours alone
  --without-ours     Postfix alone
  --dir DIR          where spools lie (default: the system's temporary directory)
  --json FILE        also writes all figures there`;

const {
  values: flags,
  number,
  refuse,
} = scriptFlags("bench", HELP, {
  only: { type: "string", multiple: true, default: [] },
  million: { type: "boolean", default: false },
  stores: { type: "boolean", default: false },
  quick: { type: "boolean", default: false },
  runs: { type: "string" },
  messages: { type: "string" },
  warmup: { type: "string" },
  "without-postfix": { type: "boolean", default: false },
  "without-ours": { type: "boolean", default: false },
  dir: { type: "string", default: tmpdir() },
  json: { type: "string" },
});

const runs = number("runs", { least: 1, usual: flags.quick ? 3 : 5, whole: true });
refuseUnusable();
const setting: Setting = {
  messages: number("messages", { least: 1, usual: flags.quick ? 4000 : 20_000, whole: true }),
  warmup: number("warmup", { usual: flags.quick ? 4000 : 10_000, whole: true }),
  sessions: 20,
  bytes: 10 * 1024,
  parent: spoolsDir(usableDir()).path,
  runs,
};
await main();

async function main(): Promise<void> {
  const facts = await machineFacts(setting.parent);
  for (const [name, fact] of Object.entries(facts)) console.log(`${name}: ${fact}`);
  const load = `${setting.messages} messages of ${setting.bytes} octets over ${setting.sessions} sessions, ${setting.warmup} before`;
  console.log(
    `each figure: median of ${runs} interleaved runs; ${load}; a fresh spool for each run\n`,
  );
  const cases = [...(await compare()), ...(await measureAlone())];
  const rows = rowsOf(cases);
  console.log(`\n${tableOf(rows)}`);
  const missed = rows.filter((row) => row.reached === false);
  if (missed.length > 0) console.log(`\n${missed.length} of the floors are missed`);
  if (flags.json !== undefined) {
    await Bun.write(
      flags.json,
      `${JSON.stringify({ facts, setting, runs, rows, cases }, null, 1)}\n`,
    );
  }
}

/** Run by run, case by case, the one right after the other, so that what drifts hits both. */
async function compare(): Promise<readonly CaseRuns[]> {
  const both: readonly ContenderName[] = ["ours", "postfix"];
  const contenders = both.filter((name) => !flags[`without-${name}`]);
  const cases = comparedCases();
  const results = cases.map((each) => ({
    each,
    runs: { ours: [] as Measures[], postfix: [] as Measures[] },
  }));
  for (let run = 0; run < runs; run += 1) {
    for (const result of results) {
      for (const who of run % 2 === 0 ? contenders : contenders.toReversed()) {
        const measures = await result.each.run(who, setting);
        result.runs[who].push(measures);
        tell(`${run + 1}/${runs}`, result.each.title, who, measures);
        settleDisk();
      }
    }
  }
  return results.map((result) => ({ ...result.each, runs: result.runs }));
}

async function measureAlone(): Promise<readonly CaseRuns[]> {
  if (flags["without-ours"]) return [];
  const results: CaseRuns[] = [];
  for (const each of aloneCases()) {
    const measures = await each.run(setting);
    tell("1/1", each.title, "ours", measures);
    settleDisk();
    results.push({ name: each.name, title: each.title, runs: { ours: [measures] } });
  }
  return results;
}

function comparedCases() {
  return COMPARED.filter(({ name }) => flags.only.length === 0 || flags.only.includes(name));
}

function aloneCases(): readonly AloneCase[] {
  return ALONE.filter(isWanted).filter((each) => {
    const reasons = missing(each.peers ?? []);
    if (reasons.length > 0) console.error(`skipped: ${each.name}: ${reasons.join("; ")}`);
    return reasons.length === 0;
  });
}

function isWanted({ name, onRequest, peers }: AloneCase): boolean {
  if (name === "million" && flags.million) return true;
  if (flags.stores && peers !== undefined) return true;
  return flags.only.length > 0 ? flags.only.includes(name) : !onRequest;
}

/** What the last run left to the disk must not slow the next one. */
function settleDisk(): void {
  Bun.spawnSync(["sync"]);
}

function tell(run: string, title: string, who: string, measures: Measures): void {
  const figures = Object.entries(measures).map(([name, value]) => `${figure(value)} ${name}`);
  console.log(`${run} ${title}: ${who}: ${figures.join(", ")}`);
}

function refuseUnusable(): void {
  const unknown = flags.only.filter((name) => !names().split(" ").includes(name));
  if (unknown.length > 0) refuse(`no such case: ${unknown.join(" ")}; there are ${names()}`);
  const isCompared = comparedCases().length > 0 && !flags["without-postfix"];
  const named = ALONE.filter(({ name }) => flags.only.includes(name));
  const reasons = missing([
    ...["smtp-source", "smtp-sink"],
    ...(isCompared ? ["postfix"] : []),
    ...named.flatMap(({ peers = [] }) => peers),
  ]);
  if (reasons.length > 0) refuse(reasons.join("; "));
}

/** Why each of these programs that cannot be used cannot be used. */
function missing(peers: readonly string[]): readonly string[] {
  return peers.map(whyNoPeer).filter((reason) => reason !== undefined);
}

function usableDir(): string {
  if (fileSystem(flags.dir) !== "tmpfs") return flags.dir;
  return refuse(
    `${flags.dir} is in memory, where a sync costs nothing: name one on a disk by --dir`,
  );
}

function names(): string {
  return [...COMPARED, ...ALONE].map(({ name }) => name).join(" ");
}
