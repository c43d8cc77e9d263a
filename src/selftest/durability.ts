import { exit } from "../lib/sysexits.ts";
import type { World } from "../lib/world.ts";
import { crashRun } from "./crash-run.ts";
import { judge } from "./judge.ts";
import { inPrivate, Unusable, usable } from "./place.ts";
import { type DurabilityReport, reportJson, reportText, verdictOf } from "./report.ts";
import { measureSyncs } from "./sync-speed.ts";
import { readVolume, realSources } from "./volume.ts";

/** What `selftest durability` was asked for. */
export interface DurabilityOptions {
  /** A directory on the volume to test; what is in it is left alone. */
  readonly dir: string;
  /** For how long the daemon is killed again and again. */
  readonly durationMs: number;
  readonly json: boolean;
  /** Warnings fail, too. */
  readonly strict: boolean;
}

/** Where it writes. */
export interface DurabilityIo {
  readonly stdout: { write(text: string): Promise<void>; readonly colour: boolean };
  readonly stderr: { write(text: string): Promise<void> };
}

/** What it takes from the program and the machine. */
export interface DurabilityParts {
  /** How this program is run: its executable, or Bun and its first source file. */
  readonly command: readonly string[];
  readonly world: World;
  /** A clock for what is too short for the world's. */
  readonly nanoseconds: () => number;
  /** How long mail may take to its end once nothing is killed any more; 30 s by default. */
  readonly drainMs?: number;
  /** Asks it to stop; it cleans up all the same. */
  readonly stop: AbortSignal;
}

const DRAIN_MS = 30_000;

/**
 * Tries a volume out in a private directory below `dir`: measures its syncs, runs a daemon there that it kills again and
 * again under load, and balances the ledger. Works while a daemon uses the spool. Removes everything that it made, also
 * when it fails or is asked to stop. Resolves with 0, 1 when a promise was broken (or, when strict, warned of), 75 when
 * it was stopped or there is too little room, and another code of sysexits.h when the directory cannot be used.
 */
export async function durability(
  options: DurabilityOptions,
  io: DurabilityIo,
  parts: DurabilityParts,
): Promise<number> {
  try {
    const dir = usable(options.dir);
    const report = await inPrivate(dir, async (path) => {
      if (!options.json) {
        const length = `${Math.round(options.durationMs / 1000)} s and a little more`;
        await io.stdout.write(`Testing ${dir} with crashes for ${length} ...\n\n`);
      }
      return await examine(dir, path, options, parts);
    });
    if (parts.stop.aborted) {
      await io.stderr.write("stopped: nothing is concluded, and everything is cleaned up\n");
      return exit.temporary;
    }
    const bold = (text: string) => (io.stdout.colour ? `\u001b[1m${text}\u001b[0m` : text);
    await io.stdout.write(options.json ? reportJson(report) : reportText(report, bold));
    const verdict = verdictOf(report);
    return verdict === "failed" || (options.strict && verdict === "warned") ? exit.no : exit.ok;
  } catch (error) {
    if (!(error instanceof Unusable)) throw error;
    await io.stderr.write(`error: ${error.message}\n`);
    return error.code;
  }
}

async function examine(
  dir: string,
  path: string,
  { durationMs }: DurabilityOptions,
  { command, world, nanoseconds, stop, drainMs = DRAIN_MS }: DurabilityParts,
): Promise<DurabilityReport> {
  const volume = readVolume(dir, realSources);
  const syncs = measureSyncs(path, nanoseconds);
  const crashes = await crashRun({ command, dir: path, durationMs, drainMs, world, stop });
  const findings = judge(volume, syncs);
  return { dir, durationMs, volume, syncs, findings, crashes };
}
