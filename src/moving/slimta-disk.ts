import { open, opendir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../lib/error-code.ts";
import type { Clock } from "../lib/world.ts";
import { type Imported, type ImportItem, type ImportSource, NotImported } from "./imported.ts";
import { PICKLE_BYTES_MAX } from "./pickle/pickle.ts";
import { readSlimtaEnvelope, readSlimtaMeta, type SlimtaMeta } from "./slimta-envelope.ts";
import { slimtaMessage } from "./slimta-message.ts";

export interface SlimtaDiskOptions {
  readonly name: string;
  readonly envDir: string;
  readonly metaDir: string;
  readonly clock: Clock;
}

const ENVELOPE = ".env";

/**
 * The parent's disk engine: a pickled envelope and a pickled dictionary for each message. It syncs neither, so that a power
 * cut leaves envelopes without the other file, or with an empty one; such a message counts as never attempted, since
 * one that comes twice is better than one that never comes. What is in `metaDir` alone was delivered.
 */
export function slimtaDisk(options: SlimtaDiskOptions): ImportSource {
  return {
    name: options.name,
    async *items() {
      for await (const { name } of await opendir(options.envDir)) {
        if (name.endsWith(ENVELOPE)) yield itemOf(name.slice(0, -ENVELOPE.length), options);
      }
    },
  };
}

function itemOf(name: string, { envDir, metaDir, clock }: SlimtaDiskOptions): ImportItem {
  const [envelopePath, metaPath] = [
    join(envDir, `${name}${ENVELOPE}`),
    join(metaDir, `${name}.meta`),
  ];
  return {
    name,
    size: async () => (await stat(envelopePath)).size,
    async read(): Promise<Imported | undefined> {
      const bytes = await readFile(envelopePath);
      // The parent was quicker: it delivers mail while this runs, or did when it was stopped.
      if (bytes === undefined) return undefined;
      const envelope = readSlimtaEnvelope(bytes);
      const meta = await metaAt(metaPath);
      const known = typeof meta === "string" ? untouched(clock) : meta;
      const freight = slimtaMessage(name, envelope, known);
      if (freight === undefined) return undefined;
      return typeof meta === "string" ? { freight, note: meta } : { freight };
    },
    async remove() {
      await rm(envelopePath, { force: true });
      await rm(metaPath, { force: true });
    },
  };
}

function untouched(clock: Clock): SlimtaMeta {
  return { due: clock.now(), attempts: 0, delivered: [] };
}

/** What is known of it, or why that is not known. */
async function metaAt(path: string): Promise<SlimtaMeta | string> {
  const taken = "it is taken as never attempted";
  const bytes = await readFile(path);
  if (bytes === undefined) return `it has no .meta: ${taken}`;
  try {
    return readSlimtaMeta(bytes);
  } catch (error) {
    if (error instanceof NotImported) return `${error.message}: ${taken}`;
    throw error;
  }
}

/** `undefined`: there is none. Throws `NotImported` for what is no file, or cannot be read. */
async function readFile(path: string): Promise<Uint8Array | undefined> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new NotImported(`${path} is no file`);
    if (found.size > PICKLE_BYTES_MAX) throw new NotImported(`${path} is too large`);
    const file = await open(path);
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return undefined;
    if (cause instanceof NotImported) throw cause;
    throw new NotImported(`${path} cannot be read (${codeOf(cause)})`, { cause });
  }
}
