import { afterAll } from "bun:test";
import fc from "fast-check";
import { runAtExit } from "./at-exit.ts";

// The one seed is for everything that rolls dice; without it each run rolls its own.
if (Bun.env.SLIMTA_QUEUE_SEED !== undefined) {
  fc.configureGlobal({ seed: Number(Bun.env.SLIMTA_QUEUE_SEED) });
}

// Here it runs once, after the last test of the last file.
afterAll(runAtExit);
