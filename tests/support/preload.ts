import { afterAll } from "bun:test";
import { runAtExit } from "./at-exit.ts";

// Here it runs once, after the last test of the last file.
afterAll(runAtExit);
