import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { Config } from "../config/config.ts";
import { expectedStoreUrl, isStoreUrl, readStoreUrl } from "../config/store-url.ts";
import { realWorld } from "../lib/world.ts";
import type { Store } from "../moving/transfer.ts";
import type { Emit } from "../observe/events.ts";
import { openMemoryStorage } from "../storage/memory/memory-storage.ts";
import { StoreConfigError } from "../storage/store-config-error.ts";
import { openStorage, storeName } from "./open-storage.ts";

/** A store that was named on the command line as `--spool` is: a directory, or a URL. */
export interface NamedStore {
  /** The configuration of a daemon that would use it. */
  readonly config: Config;
  /** The same in every run on this host, and on no other host that of another store. */
  readonly name: string;
}

/** Reads the name of a store that `flag` was given. Throws `StoreConfigError`. */
export function namedStore(flag: "--from" | "--to", text: string, config: Config): NamedStore {
  const { spool } = config;
  if (!isStoreUrl(text)) {
    const dir = realDirectory(resolve(text));
    const own = { ...config, spool: { ...spool, dir, url: null } };
    return { config: own, name: nameOnHost(config, dir) };
  }
  const url = readStoreUrl(text);
  if (url === undefined || url === null)
    throw new StoreConfigError(`${flag} is no store; give ${expectedStoreUrl(text)}`);
  if (url.kind === "memory") {
    throw new StoreConfigError(
      `${flag} memory: is gone with its process; give a directory or a URL`,
    );
  }
  const own = { ...config, spool: { ...spool, url } };
  const name = storeName(own);
  return { config: own, name: isOfThisHost(name) ? nameOnHost(config, name) : name };
}

/** The same before and after it is made: what a run has called it the next one has to know again. */
function realDirectory(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  return join(realDirectory(dirname(path)), basename(path));
}

/** A name that says on which host it means something. */
export function nameOnHost({ smtp }: Config, name: string): string {
  return `${smtp.hostname}:${name}`;
}

/** Files of ours would keep the daemon of another user from its own queue. */
function requireOwn({ spool }: Config): void {
  const found = statSync(`${spool.dir}/queue.db`, { throwIfNoEntry: false });
  const uid = process.getuid?.();
  if (spool.url !== null || found === undefined || found.uid === uid) return;
  throw new StoreConfigError(
    `${spool.dir} belongs to the user with id ${found.uid}: run this as that user (sudo -u '#${found.uid}' ...)`,
  );
}

/** What is called the same on every host and is another store there. */
function isOfThisHost(name: string): boolean {
  return /\/\/(?:localhost|127\.|\[::1\]|\/|%2f)/iu.test(name);
}

/** Whether there is a queue to take mail from; a directory is not made for that. */
export function exists({ config: { spool } }: NamedStore): boolean {
  return (
    spool.url !== null || existsSync(`${spool.dir}/queue.db`) || existsSync(`${spool.dir}/content`)
  );
}

/** Stands in for a store where nothing is to be stored: nothing is made, locked or asked. */
export function unopened({ name }: NamedStore): Store {
  return { name, storage: openMemoryStorage({ bodyBytesMax: 0 }, { world: realWorld }) };
}

/** Opens it as a daemon would. */
export async function openStore({ config, name }: NamedStore, emit: Emit): Promise<Store> {
  requireOwn(config);
  return { name, storage: await openStorage(config, { world: realWorld, emit }) };
}
