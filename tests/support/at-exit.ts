type Phase = "programs" | "directories";

const runs: { readonly phase: Phase; run(): void }[] = [];

/**
 * Runs when the process exits, also by INT or TERM: programs are ended before directories are removed. For what a failed
 * test could not dispose; it must do its work at once.
 */
export function atExit(phase: Phase, run: () => void): void {
  runs.push({ phase, run });
}

/** Does all of it now. `bun test` ends without the event: tests/support/preload.ts calls this after the last test. */
export function runAtExit(): void {
  for (const phase of ["programs", "directories"]) {
    for (const each of runs) if (each.phase === phase) attempt(each.run);
  }
}

/** One thing that is gone already must not keep the others. */
function attempt(run: () => void): void {
  try {
    run();
  } catch (error) {
    console.error("cannot clean up:", error);
  }
}

process.on("exit", runAtExit);

// Without a handler a signal ends the process and no exit is announced.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  process.once(signal, () => process.exit(code));
}
