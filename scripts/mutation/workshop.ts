import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startChild } from "../../tests/support/child.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import { edited, type Mutation } from "./mutation.ts";

/** How a mutation ended. */
export interface Finding {
  readonly caught: boolean;
  /** The first test that failed, or why there is none. */
  readonly by: string;
  readonly seconds: number;
}

/** A copy of the tree in which defects are made and taken back: the tree itself is never touched. */
export interface Workshop extends AsyncDisposable {
  /** Runs tests in the copy as it is. */
  run(tests: readonly string[], needsExecutable?: true): Promise<Finding>;
  /** Makes the defect, runs its tests, and takes it back. */
  try(mutation: Mutation): Promise<Finding>;
}

const PARTS = [
  ...["src", "tests", "scripts", "build.ts", "README.md", "package.json", "tsconfig.json"],
  ...["bunfig.toml", "biome.json", "bun.lock"],
];
/** A defect may make tests wait for what never comes. */
const TESTS_MAX_MS = 240_000;
const TEST_MAX_MS = 60_000;

export function openWorkshop(root: string): Workshop {
  const copy = tempDir("mutate");
  for (const part of PARTS) cpSync(join(root, part), copy.join(part), { recursive: true });
  symlinkSync(join(root, "node_modules"), copy.join("node_modules"));

  async function run(tests: readonly string[], needsExecutable?: true): Promise<Finding> {
    const since = performance.now();
    const seconds = (): number => (performance.now() - since) / 1000;
    if (needsExecutable) await build(copy.path);
    const command = ["test", "--bail", "--timeout", String(TEST_MAX_MS), ...tests];
    await using child = startChild([process.execPath, ...command], {
      cwd: copy.path,
      env: { NO_COLOR: "1" },
    });
    // TERM first: the tests end the programs that they have started, and remove their files.
    const timer = setTimeout(() => void child.stop(), TESTS_MAX_MS);
    const status = await child.exited;
    clearTimeout(timer);
    if (status === 0) return { caught: false, by: "nothing", seconds: seconds() };
    return { caught: true, by: firstFailure(child.output(), status), seconds: seconds() };
  }

  return {
    run,
    async try({ edits, tests, needsExecutable }) {
      const before = new Map<string, string>();
      try {
        for (const edit of edits) {
          const path = copy.join(edit.file);
          const text = readFileSync(path, "utf8");
          if (!before.has(path)) before.set(path, text);
          writeFileSync(path, requireSyntax(edited(text, edit)));
        }
        return await run(tests, needsExecutable);
      } finally {
        for (const [path, text] of before) writeFileSync(path, text);
      }
    },
    [Symbol.asyncDispose]: () => copy[Symbol.asyncDispose](),
  };
}

/** A text that does not parse would fail every test and prove nothing. */
function requireSyntax(text: string): string {
  new Bun.Transpiler({ loader: "ts" }).transformSync(text);
  return text;
}

async function build(cwd: string): Promise<void> {
  await using child = startChild([process.execPath, "build.ts"], { cwd });
  if ((await child.exited) !== 0) throw new Error(`the defect does not build: ${child.output()}`);
}

/** What the runner says first: `(fail) P1 > the test [12 ms]`. */
function firstFailure(output: string, status: number): string {
  const [, name] = /^\(fail\) (.+?)(?: \[[\d.]+ ?m?s\])?$/mu.exec(output) ?? [];
  if (name !== undefined) return name;
  if (status > 128) return `tests that did not end within ${TESTS_MAX_MS / 1000} s`;
  throw new Error(`the tests did not run:\n${output.slice(-2000)}`);
}
