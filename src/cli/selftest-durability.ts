import { readDuration } from "../config/units.ts";
import { usageError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";

const DURATION = "20s";
const DURATION_MS_MIN = 1000;
const DURATION_MS_MAX = 24 * 3_600_000;

export const selftestDurability: Command = {
  name: "selftest durability",
  summary: "try a volume out: kill a daemon again and again, time the syncs",
  usage: "[--spool DIR] [--duration 20s] [--json] [--strict] [flags]",
  details:
    "Works in a private directory below the spool's, also beside a daemon that uses it, whose mail it leaves\n" +
    "alone and whom it slows down; removes what it made. Exits with 0, 1 when a promise was broken, 75 when\n" +
    "it was stopped or has too little room.",
  options: [
    { name: "duration", value: "TIME", doc: `how long to kill it again and again (${DURATION})` },
    { name: "json", doc: "report as JSON" },
    { name: "strict", doc: "exit with 1 for warnings, too" },
  ],
  configured: true,
  examples: [
    "slimta-queue selftest durability",
    "slimta-queue selftest durability --spool /mnt/volume --duration 2m --strict",
  ],
  run(args, parts) {
    if (args.positionals.length > 0) throw usageError("selftest durability takes flags only");
    const durationMs = durationOf(args.get("duration") ?? DURATION);
    const options = { durationMs, json: args.has("json"), strict: args.has("strict") };
    return withConfig(args, parts, async ({ config }) => {
      if (config.spool.url !== null)
        throw usageError("it is for a queue in a directory: --spool DIR");
      return await parts.selftest({ dir: config.spool.dir, ...options }, parts);
    });
  },
};

function durationOf(text: string): number {
  const ms = readDuration(text);
  if (ms !== undefined && ms >= DURATION_MS_MIN && ms <= DURATION_MS_MAX) return ms;
  throw usageError(`--duration: expected a time from 1s to 24h such as 20s, found "${text}"`);
}
