import type { Config } from "../config/config.ts";
import { idMaker } from "../lib/id.ts";
import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import { realWorld } from "../lib/world.ts";
import { type Store, transfer } from "../moving/transfer.ts";
import { exists, type NamedStore, namedStore, openStore } from "./moving-store.ts";
import {
  type MovingIo,
  moveExit,
  progressOn,
  tellOn,
  tellOpenError,
  tellReport,
} from "./moving-words.ts";

export interface TransferOptions {
  /** Stores, named as for `--spool`. */
  readonly from: string;
  readonly to: string;
  /** Only count. */
  readonly dryRun: boolean;
  readonly json: boolean;
  /** Aborted: it ends as soon as nothing is under way. */
  readonly signal: AbortSignal;
}

/** Moves all mail of one store to another one. Resolves with the exit code; never rejects for what a store does. */
export async function transferMail(
  config: Config,
  options: TransferOptions,
  io: MovingIo,
): Promise<number> {
  try {
    const from = namedStore("--from", options.from, config);
    const to = namedStore("--to", options.to, config);
    const refusal = refusalOf(from, to);
    if (refusal === undefined) return await between(from, to, options, io);
    await io.stderr.write(`${refusal}\n`);
    return exit.usage;
  } catch (error) {
    return await tellOpenError(error, io);
  }
}

function refusalOf(from: NamedStore, to: NamedStore): string | undefined {
  if (from.name === to.name) return "--from and --to are the same store";
  return exists(from) ? undefined : `there is no queue in ${from.config.spool.dir}`;
}

async function between(
  source: NamedStore,
  target: NamedStore,
  options: TransferOptions,
  io: MovingIo,
): Promise<number> {
  const emit = tellOn(io);
  const from = await openStore(source, emit);
  try {
    if (options.dryRun) return await count(from, options, io);
    const to = await openStore(target, emit);
    try {
      return await run(from, to, options, io);
    } finally {
      await to.storage.close();
    }
  } finally {
    await from.storage.close();
  }
}

async function count(from: Store, { json }: TransferOptions, io: MovingIo): Promise<number> {
  const { size, states, bytes } = await from.storage.getInfo();
  const text = `${size} messages to move, ${bytes} octets, ${states.hold} of them held, ${states.active} being delivered`;
  await io.stdout.write(`${json ? terminalJson({ size, states, bytes }) : text}\n`);
  return exit.ok;
}

async function run(
  from: Store,
  to: Store,
  { json, signal }: TransferOptions,
  io: MovingIo,
): Promise<number> {
  const { clock, random } = realWorld;
  // Ends leases that are over, which would look as if somebody had the mail.
  await from.storage.nextDue();
  const { size } = await from.storage.getInfo();
  const holder = `transfer-${idMaker(clock.now, random)()}`;
  const onProgress = progressOn(io, size);
  const report = await transfer({ from, to, clock, holder, signal, onProgress });
  await tellReport(report, { title: `${from.name} to ${to.name}`, json }, io);
  return moveExit(report);
}
