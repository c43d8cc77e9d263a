/**
 * Runs the whole queue in a simulated world: `bun run sim --seed N --steps M [--engine memory|disk] [--days D] [--seeds K]`.
 * A run that breaks a promise prints the shortest history that does, which `--replay FILE` runs again.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { generate } from "./generate.ts";
import { type EngineName, formatHistory, type History, parseHistory } from "./history.ts";
import { shrink } from "./shrink.ts";
import { type Result, simulate } from "./simulation.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    seeds: { type: "string", default: "1" },
    steps: { type: "string", default: "2000" },
    days: { type: "string" },
    engine: { type: "string", default: "disk" },
    replay: { type: "string" },
    tries: { type: "string", default: "300" },
    events: { type: "boolean", default: false },
  },
});

/** What one step of a history takes unless told otherwise: with six of ten steps mail comes. */
const STEPS_PER_DAY = 300;

process.exit((await all()) ? 0 : 1);

async function all(): Promise<boolean> {
  if (values.replay !== undefined)
    return await one(parseHistory(readFileSync(values.replay, "utf8")), "");
  const steps = Number(values.steps);
  const days = Number(values.days ?? steps / STEPS_PER_DAY);
  for (let index = 0; index < Number(values.seeds); index += 1) {
    const seed = Number(values.seed) + index;
    const engine = values.engine as EngineName;
    const history = generate({ seed, steps, engine, days });
    const again = `bun run sim --seed ${seed} --steps ${steps} --days ${days} --engine ${engine}`;
    if (!(await one(history, again))) return false;
  }
  return true;
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
  const shortest = await shrink(history, isSame, Number(values.tries));
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
