import { expect, test } from "bun:test";
import { join } from "node:path";

const SOURCE = join(import.meta.dir, "../../src");

/** Runs a script that has a log on its standard output, with a shell around it. */
function run(shell: string, script: string) {
  const source = `
    import { openLog } from "${SOURCE}/observe/log.ts";
    import { stdoutSink } from "${SOURCE}/observe/stdout.ts";
    import { realWorld } from "${SOURCE}/lib/world.ts";
    const log = openLog({ format: "text", stamp: "none", name: "q", host: "h", pid: 1, clock: realWorld.clock, sink: stdoutSink() });
    const line = (text) => log.emit({ kind: "lifecycle", what: "ready", text });
    const say = (text) => process.stderr.write(text + "\\n");
    ${script}`;
  return Bun.spawn(["bash", "-c", shell], {
    env: { ...process.env, BUN: process.execPath, SCRIPT: source },
    stdout: "pipe",
    stderr: "pipe",
  });
}

const texts = (process: Bun.Subprocess<"ignore", "pipe", "pipe">) =>
  Promise.all([
    new Response(process.stdout).text(),
    new Response(process.stderr).text(),
    process.exited,
  ]);

test("a pipe gets every line, in order", async () => {
  const script = "for (let n = 0; n < 5000; n += 1) line('n' + n); await log.flush(10_000);";
  const [out, err] = await texts(run('"$BUN" -e "$SCRIPT" | cat', script));
  expect(err).toBe("");
  const numbers = out
    .trimEnd()
    .split("\n")
    .map((text) => text.split(" ").at(-1));
  expect(numbers).toEqual(Array.from({ length: 5000 }, (_, n) => `n${n}`));
});

test("a reader that does not read blocks nothing, and lines beyond the buffer are dropped", async () => {
  const script = `
    const text = "x".repeat(900);
    for (let n = 0; n < 20_000; n += 1) { line(text); if (n % 100 === 0) await new Promise(setImmediate); }
    await log.flush(50);
    say("dropped " + log.dropped());
    process.exit(0);`;
  // The shell holds the pipe open for ever and never reads it.
  const pipe =
    'd=$(mktemp -d); mkfifo "$d/p"; exec 4<>"$d/p"; "$BUN" -e "$SCRIPT" > "$d/p"; rm -r "$d"';
  const [, err] = await texts(run(pipe, script));
  expect(Number(/^dropped (\d+)$/mu.exec(err)?.[1])).toBeGreaterThan(10_000);
});

test("a reader that went away does not end the process", async () => {
  const script = `
    for (let n = 0; n < 3; n += 1) { line("x".repeat(200_000)); await log.flush(1000); }
    say("alive " + log.dropped());`;
  const [, err] = await texts(run('exec 3>&2; "$BUN" -e "$SCRIPT" 2>&3 | true', script));
  expect(err).toMatch(/^alive [1-3]\n$/u);
});

test("a full disk costs lines, not the process", async () => {
  const script = 'line("a"); await log.flush(1000); say("alive " + log.dropped());';
  const [, err] = await texts(run('"$BUN" -e "$SCRIPT" > /dev/full', script));
  expect(err).toBe("alive 1\n");
});
