import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { ROOT } from "../support/binary.ts";

/** What README tells everybody to run, and a flag that takes a number. */
const SCRIPTS: readonly (readonly [path: string, name: string, number: string])[] = [
  ["scripts/bench.ts", "bench", "--runs"],
  ["scripts/soak.ts", "soak", "--minutes"],
  ["scripts/mutate.ts", "mutate", "--jobs"],
  ["tests/sim/run.ts", "sim", "--seeds"],
  ["tests/power-cut/run.ts", "power-cut", "--states"],
  ["tests/soak/crash.ts", "soak:crash", "--minutes"],
];

function called(path: string, ...args: readonly string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, join(ROOT, path), ...args]);
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe.each(SCRIPTS)("%s", (path, name, number) => {
  test("tells what it does and which flags it takes", () => {
    const { exitCode, stdout, stderr } = called(path, "--help");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain(`${number} `);
  });

  test("says in one line what is wrong with a call, and does nothing", () => {
    for (const [args, reason] of [
      [["--nonsense"], "Unknown option '--nonsense'"],
      [["nonsense"], "Unexpected argument 'nonsense'"],
      [[number, "many"], `${number} takes a`],
      [[number, ""], `${number} takes a`],
    ] as const) {
      const { exitCode, stdout, stderr } = called(path, ...args);
      expect({ exitCode, stdout }).toEqual({ exitCode: 64, stdout: "" });
      expect(stderr).toMatch(/^[^\n]+; --help tells more\n$/u);
      expect(stderr).toStartWith(`${name}: ${reason}`);
    }
  });
});
