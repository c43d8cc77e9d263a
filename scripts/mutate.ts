/** Breaks the promises one by one, in a copy of the tree, and reports which defects the tests notice. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { scriptFlags } from "../tests/support/flags.ts";
import { allMutations } from "./mutation/all-mutations.ts";
import type { Mutation } from "./mutation/mutation.ts";
import { type Finding, openWorkshop, type Workshop } from "./mutation/workshop.ts";

const HELP = `bun run mutate [flags]: makes one defect after another in a copy of the tree and runs the tests that must fail

  --only TEXT   only mutations whose name has this text; may be repeated
  --list        says what would be done
  --jobs N      how many at once (default: half of the cores)
  --help        this page

Exit code 1: a defect was not noticed, or tests fail without one.`;

const ROOT = join(import.meta.dir, "..");

const {
  values: flags,
  number,
  refuse,
} = scriptFlags("mutate", HELP, {
  only: { type: "string", multiple: true, default: [] },
  list: { type: "boolean", default: false },
  jobs: { type: "string", default: String(Math.max(1, Math.floor(availableParallelism() / 2))) },
});
const jobs = number("jobs", { least: 1, whole: true });

const wanted = allMutations(ROOT).filter(
  ({ name }) => flags.only.length === 0 || flags.only.some((text) => name.includes(text)),
);
if (wanted.length === 0) refuse("no mutation has such a name, see --list");
if (flags.list)
  for (const each of wanted) console.log(`${titleOf(each)}\n    ${each.tests.join(" ")}`);
else process.exitCode = (await main()) ? 0 : 1;

async function main(): Promise<boolean> {
  const benches = Math.min(jobs, wanted.length);
  const workshops = Array.from({ length: benches }, () => openWorkshop(ROOT));
  try {
    const [first] = workshops;
    if (first === undefined || !(await passesAsItIs(first))) return false;
    return await tryAll(workshops);
  } finally {
    for (const workshop of workshops) await workshop[Symbol.asyncDispose]();
  }
}

/** Tests that fail anyway would call every defect noticed. */
async function passesAsItIs(workshop: Workshop): Promise<boolean> {
  const tests = [...new Set(wanted.flatMap((each) => each.tests))];
  const needsExecutable = wanted.some((each) => each.needsExecutable);
  const finding = await workshop.run(tests, ...(needsExecutable ? [true as const] : []));
  if (finding.caught) console.log(`without any defect this fails: ${finding.by}`);
  else console.log(`without a defect ${tests.length} paths of tests pass (${seconds(finding)})\n`);
  return !finding.caught;
}

async function tryAll(workshops: readonly Workshop[]): Promise<boolean> {
  const todo = [...wanted];
  const survivors: Mutation[] = [];
  const since = performance.now();
  const work = async (workshop: Workshop): Promise<void> => {
    for (let next = todo.shift(); next !== undefined; next = todo.shift()) {
      const finding = await workshop.try(next);
      if (!finding.caught) survivors.push(next);
      console.log(lineOf(next, finding));
    }
  };
  await Promise.all(workshops.map(work));
  const caught = wanted.length - survivors.length;
  const minutes = ((performance.now() - since) / 60_000).toFixed(1);
  console.log(`\n${caught} of ${wanted.length} defects were noticed, in ${minutes} minutes`);
  for (const each of survivors) console.log(`NOT NOTICED: ${titleOf(each)}`);
  return survivors.length === 0;
}

function lineOf(mutation: Mutation, finding: Finding): string {
  const verdict = finding.caught ? "caught    " : "NOT CAUGHT";
  const by = finding.caught ? `    by: ${finding.by}` : `    ran: ${mutation.tests.join(" ")}`;
  return `${verdict} ${titleOf(mutation)} (${seconds(finding)})\n${by}`;
}

function titleOf({ name, promise }: Mutation): string {
  return `${promise} ${name}`;
}

function seconds(finding: Finding): string {
  return `${finding.seconds.toFixed(1)} s`;
}
