/** The whole queue in a simulated world, for as long as one likes: see HELP. */
import { readFileSync } from "node:fs";
import { scriptFlags } from "../support/flags.ts";
import { generate } from "./generate.ts";
import { formatHistory, type History, parseHistory } from "./history.ts";
import { shrink } from "./shrink.ts";
import { type Result, simulate } from "./simulation.ts";

const HELP = `bun run sim [flags]: runs the whole queue in a simulated world, with clients, peers, faults, crashes and power cuts

  --seed N         the first seed (1)
  --seeds K        so many seeds, one after another (1)
  --steps M        what happens, in so many steps (2000)
  --days D         the simulated time that they take (one day for 300 steps)
  --engine NAME    the storage: disk or memory (disk)
  --replay FILE    runs a history again that an earlier run has printed, instead of seeds
  --tries T        so many runs at most to find a shorter history that goes wrong (300)
  --events         prints what happened last before it went wrong

The same flags give the same run, byte by byte. A run that breaks a promise ends the script, and prints the shortest history
found that does, for --replay. Exit code 1: a promise was broken.`;

const { values, number, word, refuse } = scriptFlags("sim", HELP, {
  seed: { type: "string", default: "1" },
  seeds: { type: "string", default: "1" },
  steps: { type: "string", default: "2000" },
  days: { type: "string" },
  engine: { type: "string", default: "disk" },
  replay: { type: "string" },
  tries: { type: "string", default: "300" },
  events: { type: "boolean", default: false },
});

/** What one step of a history takes unless told otherwise: with six of ten steps mail comes. */
const STEPS_PER_DAY = 300;

const first = number("seed", { whole: true });
const seeds = number("seeds", { least: 1, whole: true });
const steps = number("steps", { least: 1, whole: true });
const days = number("days", { usual: steps / STEPS_PER_DAY });
const tries = number("tries", { whole: true });
const engine = word("engine", ["disk", "memory"]);

process.exit((await all()) ? 0 : 1);

async function all(): Promise<boolean> {
  if (values.replay !== undefined) return await one(historyIn(values.replay), "");
  for (let seed = first; seed < first + seeds; seed += 1) {
    const history = generate({ seed, steps, engine, days });
    const again = `bun run sim --seed ${seed} --steps ${steps} --days ${days} --engine ${engine}`;
    if (!(await one(history, again))) return false;
  }
  return true;
}

function historyIn(path: string): History {
  try {
    return parseHistory(readFileSync(path, "utf8"));
  } catch (error) {
    return refuse(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function one(history: History, again: string): Promise<boolean> {
  const began = process.cpuUsage();
  const result = await simulate(history);
  const { user, system } = process.cpuUsage(began);
  const seconds = (user + system) / 1e6;
  console.log(summary(history, result, seconds));
  if (result.violation === undefined) return true;
  if (values.events) console.log(result.tail.join("\n"));
  await explain({ ...history, commands: history.commands.slice(0, result.steps) }, result, again);
  return false;
}

async function explain(history: History, result: Result, again: string): Promise<void> {
  console.log(`\n${result.violation}\n`);
  const kind = kindOf(result);
  const isSame = async (shorter: History): Promise<boolean> =>
    kindOf(await simulate(shorter)) === kind;
  const shortest = await shrink(history, isSame, tries);
  const last = await simulate(shortest);
  console.log(`what happened last in the shortest history found:\n\n${last.tail.join("\n")}\n`);
  console.log(`# ${last.violation}`);
  console.log(formatHistory(shortest));
  if (again !== "") console.log(`\n# the whole of it: ${again}`);
  console.log("# the short one: save the lines above as FILE, and bun run sim --replay FILE");
}

/** What is wrong, whoever it concerns. */
function kindOf({ violation = "" }: Result): string {
  return violation.replace(/[0-9A-Z]{16}|\d+/gu, "#").slice(0, 40);
}

function summary(
  { setup }: History,
  { days, counts, steps, violation, digest }: Result,
  seconds: number,
): string {
  const perMinute = (60 * days) / seconds;
  return [
    `${violation === undefined ? "ok" : "WRONG"} seed ${setup.seed} ${setup.engine} ${setup.nodes} node(s)`,
    `${steps} steps, ${days.toFixed(1)} days in ${seconds.toFixed(1)} s of CPU: ${perMinute.toFixed(0)} days/min`,
    `${counts.sent} sent (${(counts.sent / days).toFixed(0)}/day), ${counts.stored} stored, ${counts.attempts} attempts`,
    `${counts.delivered} delivered, ${counts.bounced} bounced, ${counts.dropped} dropped, ${counts.notices} notices`,
    `${counts.refused} refused, ${counts.unknown} unknown, ${counts.duplicates} duplicates, ${counts.ghosts} ghosts`,
    `${counts.crashes} crashes, ${counts.stops} stops, ${counts.fileOperations} file operations, ${digest.slice(0, 12)}`,
  ].join("\n  ");
}
