import { realpath } from "node:fs/promises";
import type { Config } from "../config/config.ts";
import { idMaker } from "../lib/id.ts";
import { exit } from "../lib/sysexits.ts";
import { realWorld } from "../lib/world.ts";
import { importMail } from "../moving/import.ts";
import type { ImportSource } from "../moving/imported.ts";
import { configuredQueueDir, isRunning, postfixQueue } from "../moving/postfix/postfix.ts";
import { ProgramError, type Programs, postfixPrograms } from "../moving/postfix/programs.ts";
import { slimtaDisk } from "../moving/slimta-disk.ts";
import { slimtaRedis } from "../moving/slimta-redis.ts";
import { connect, SILENCE_MS } from "../storage/redis/connection.ts";
import { REDIS_URL, readRedisUrl, shownRedisUrl } from "../storage/redis/redis-url.ts";
import { StoreConfigError } from "../storage/store-config-error.ts";
import { namedStore, nameOnHost, openStore, unopened } from "./moving-store.ts";
import {
  type MovingIo,
  moveExit,
  progressOn,
  tellOn,
  tellOpenError,
  tellReport,
} from "./moving-words.ts";

/** The queue of another program. */
export type ForeignQueue =
  | { readonly kind: "slimta-disk"; readonly envDir: string; readonly metaDir: string }
  | { readonly kind: "slimta-redis"; readonly url: string; readonly prefix: string }
  | {
      readonly kind: "postfix";
      readonly queueDir: string | undefined;
      readonly configDir: string | undefined;
    };

export interface ImportOptions {
  readonly from: ForeignQueue;
  /** A store, named as for `--spool`. */
  readonly to: string;
  /** Removes from the other queue what is stored here. */
  readonly remove: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
  /** Aborted: it ends as soon as nothing is under way. */
  readonly signal: AbortSignal;
}

/** Another program's queue that is open. */
interface OpenSource {
  readonly source: ImportSource;
  close(): void;
}

/** Takes over the queue of another program. Resolves with the exit code; never rejects for what a queue does. */
export async function importQueue(
  config: Config,
  options: ImportOptions,
  io: MovingIo,
): Promise<number> {
  try {
    const from = await openSource(options.from, config);
    try {
      return await run(from.source, config, options, io);
    } finally {
      from.close();
    }
  } catch (error) {
    if (!(error instanceof BusyError)) return await tellOpenError(error, io);
    await io.stderr.write(`${error.message}\n`);
    return exit.temporary;
  }
}

/** The other program is running. */
class BusyError extends Error {
  override readonly name = "BusyError";
}

async function run(
  from: ImportSource,
  config: Config,
  { to: target, remove, dryRun, json, signal }: ImportOptions,
  io: MovingIo,
): Promise<number> {
  const { clock, random } = realWorld;
  const named = namedStore("--to", target, config);
  const to = dryRun ? unopened(named) : await openStore(named, tellOn(io));
  try {
    const holder = `import-${idMaker(clock.now, random)()}`;
    const onProgress = progressOn(io, undefined);
    const asked = { from, to, remove, dryRun, clock, holder, signal, onProgress };
    const report = await importMail(asked);
    const title = `${from.name} to ${to.name}${dryRun ? " (dry run)" : ""}`;
    await tellReport(report, { title, json }, io);
    return moveExit(report);
  } finally {
    await to.storage.close();
  }
}

async function openSource(from: ForeignQueue, config: Config): Promise<OpenSource> {
  switch (from.kind) {
    case "slimta-disk":
      return await openSlimtaDisk(from, config);
    case "slimta-redis":
      return await openSlimtaRedis(from, config);
    case "postfix":
      return await openPostfix(from, config);
  }
}

async function openSlimtaDisk(
  { envDir, metaDir }: Extract<ForeignQueue, { kind: "slimta-disk" }>,
  config: Config,
): Promise<OpenSource> {
  const directory = await existing(envDir);
  const name = nameOnHost(config, `slimta-disk:${directory}`);
  const options = { name, envDir: directory, metaDir: await existing(metaDir) };
  return { source: slimtaDisk({ ...options, clock: realWorld.clock }), close: () => undefined };
}

async function openSlimtaRedis(
  { url, prefix }: Extract<ForeignQueue, { kind: "slimta-redis" }>,
  config: Config,
): Promise<OpenSource> {
  const address = readRedisUrl(url);
  if (address === undefined || address.kind === "cluster") {
    throw new StoreConfigError(`not the URL of one Redis; give ${REDIS_URL}`);
  }
  if (/[?&]prefix=/u.test(url)) {
    throw new StoreConfigError(
      "what python-slimta's keys begin with is said by --prefix, not by the URL",
    );
  }
  const { clock } = realWorld;
  const connection = await connect(address, { clock, silenceMs: SILENCE_MS });
  const name = nameOnHost(config, `slimta-redis:${prefix}@${shownRedisUrl(address)}`);
  const source = slimtaRedis({ name, connection, prefix, clock });
  return { source, close: () => connection.close() };
}

async function openPostfix(
  { queueDir, configDir }: Extract<ForeignQueue, { kind: "postfix" }>,
  config: Config,
): Promise<OpenSource> {
  const programs = postfixPrograms(configDir);
  const directory = await stoppedQueue(programs, queueDir).catch((cause: unknown) => {
    throw cause instanceof ProgramError ? new StoreConfigError(cause.message) : cause;
  });
  const name = nameOnHost(config, `postfix:${directory}`);
  const { hostname } = config.smtp;
  const source = postfixQueue({ name, programs, queueDir: directory, receiver: hostname });
  return { source, close: () => undefined };
}

/** The directory of a queue that no Postfix uses. */
async function stoppedQueue(programs: Programs, queueDir: string | undefined): Promise<string> {
  const directory = await existing(queueDir ?? (await configuredQueueDir(programs)));
  if (await isRunning(programs, directory)) {
    throw new BusyError("Postfix is running and delivers from this queue: stop it first");
  }
  return directory;
}

async function existing(directory: string): Promise<string> {
  try {
    return await realpath(directory);
  } catch (cause) {
    throw new StoreConfigError(`there is no directory ${directory}`, { cause });
  }
}
