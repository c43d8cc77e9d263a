import type { Stats } from "node:fs";
import { readdir, realpath, rm, stat } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { codeOf } from "../../lib/error-code.ts";
import { isAscii } from "../../mail/address.ts";
import { bodyContent, bytesContent, type Content, concatBytes } from "../../mail/content.ts";
import {
  type Imported,
  type ImportItem,
  type ImportSource,
  importedId,
  NotImported,
} from "../imported.ts";
import { ProgramError, type Programs } from "./programs.ts";
import { type PostfixEnvelope, readPostfixEnvelope } from "./records.ts";

export interface PostfixOptions {
  readonly name: string;
  readonly programs: Programs;
  readonly queueDir: string;
  /** The host that goes on with the mail. */
  readonly receiver: string;
}

/** Where mail lies that has been through `cleanup`. */
const QUEUES = ["incoming", "active", "deferred", "hold"] as const;
type Queue = (typeof QUEUES)[number];

/** What Postfix keeps of a message beside its file. */
const LOGS = ["defer", "bounce", "trace"];
const ID = /^[0-9A-Za-z]{6,30}$/u;
/** A file that is received whole can be executed: Postfix says so in this way. */
const OWNER_EXECUTES = 0o100;
/** Content of smaller files is read in one piece. */
const SMALL = 256 * 1024;
const NO_CLEANUP =
  "it has not been through cleanup: let Postfix do that, with its delivery deferred";

/**
 * The queue of a Postfix that is stopped, read by its own `postcat`. Recipients that are done stay done, what is on hold is
 * held, and a deferred message is due when it was. How often it was tried Postfix does not know. Mail in `maildrop` is
 * left: addresses in it are as users wrote them.
 */
export function postfixQueue(options: PostfixOptions): ImportSource {
  return {
    name: options.name,
    async *items() {
      for (const queue of QUEUES) {
        for await (const path of filesIn(join(options.queueDir, queue))) {
          yield itemOf(path, queue, options);
        }
      }
      for await (const path of filesIn(join(options.queueDir, "maildrop"))) yield left(path);
    },
  };
}

/** The directory of the queue that a configuration names. */
export async function configuredQueueDir(programs: Programs): Promise<string> {
  const told = await programs.output("postconf", "-h", "queue_directory");
  return new TextDecoder().decode(told).trim();
}

/** Whether a Postfix is running that uses this directory. */
export async function isRunning(programs: Programs, queueDir: string): Promise<boolean> {
  const own = await realpath(await configuredQueueDir(programs)).catch(() => undefined);
  if (own !== (await realpath(queueDir))) return false;
  try {
    await programs.output("postfix", "status");
    return true;
  } catch (error) {
    // Whoever may not ask is not told that it is stopped.
    if (error instanceof ProgramError && !/superuser/iu.test(error.message)) return false;
    throw error;
  }
}

/** Queue files, whether or not their directory is hashed. A queue that does not exist is empty. */
async function* filesIn(directory: string): AsyncGenerator<string> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  });
  for (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesIn(path);
    else if (entry.isFile() && ID.test(entry.name)) yield path;
  }
}

function left(path: string): ImportItem {
  return {
    name: basename(path),
    read: () => Promise.reject(new NotImported(NO_CLEANUP, { reason: "skipped" })),
    remove: async () => undefined,
  };
}

function itemOf(path: string, queue: Queue, options: PostfixOptions): ImportItem {
  const { queueDir } = options;
  const name = basename(path);
  return {
    name,
    read: () => read(path, queue, options),
    async remove() {
      await rm(path, { force: true });
      // Logs lie in as many directories as the message did, but a held message's in those of before.
      const places = [relative(join(queueDir, queue), path), join(name.charAt(0), name), name];
      for (const log of LOGS) {
        for (const place of places) await rm(join(queueDir, log, place), { force: true });
      }
    },
  };
}

async function read(
  path: string,
  queue: Queue,
  { programs, receiver }: PostfixOptions,
): Promise<Imported | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  if ((found.mode & OWNER_EXECUTES) === 0) {
    throw new NotImported("it was never received whole", { reason: "skipped" });
  }
  const told = await asked(() => programs.output("postcat", "-e", path));
  const envelope = readPostfixEnvelope(told);
  if (envelope.recipients.every(({ done }) => done)) return undefined;
  const content = await contentOf(path, found, programs);
  return { freight: freightOf(basename(path), { envelope, content, queue, found, receiver }) };
}

interface Parts {
  readonly envelope: PostfixEnvelope;
  readonly content: Content;
  readonly queue: Queue;
  readonly found: Stats;
  readonly receiver: string;
}

function freightOf(name: string, { envelope, content, queue, found, receiver }: Parts) {
  const { sender, recipients, client, arrivedAt, dsn, eightBit } = envelope;
  const done = recipients.flatMap((recipient, index) =>
    recipient.done ? [{ index, status: "delivered" as const }] : [],
  );
  // A deferred file's time is that of its next attempt.
  const due = found.mtimeMs;
  return {
    id: importedId(arrivedAt, ["postfix", name]),
    envelope: {
      sender,
      recipients: recipients.map(({ done: _, ...recipient }, index) => ({ index, ...recipient })),
      content,
      client,
      receiver,
      receivedAt: arrivedAt,
      dsn,
      eightBit,
      smtpUtf8: ![sender, ...recipients.map(({ address }) => address)].every(isAscii),
    },
    known: { attempts: queue === "deferred" ? 1 : 0, due, recipients: done },
    held: queue === "hold",
  };
}

async function contentOf(path: string, { size }: Stats, programs: Programs): Promise<Content> {
  const stream = (): AsyncGenerator<Uint8Array> => wireLines(path, programs);
  if (size > SMALL) {
    // Nobody knows its size before it has been read; whoever stores it counts.
    return bodyContent({ kind: "source", size, head: new Uint8Array(0), stream });
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream()) chunks.push(chunk);
  return bytesContent(concatBytes(chunks));
}

const LF = 0x0a;
const CR = 0x0d;

/** Lines of a queue file end with LF when it is printed, and nothing else does. */
async function* wireLines(path: string, programs: Programs): AsyncGenerator<Uint8Array> {
  const chunks = programs.stream("postcat", "-hb", path);
  try {
    for await (const chunk of chunks) yield withCrlf(chunk);
  } catch (error) {
    throw asNotImported(error);
  }
}

function withCrlf(bytes: Uint8Array): Uint8Array {
  let lines = 0;
  for (const byte of bytes) lines += Number(byte === LF);
  const ended = new Uint8Array(bytes.length + lines);
  let end = 0;
  for (const byte of bytes) {
    if (byte === LF) {
      ended[end] = CR;
      end += 1;
    }
    ended[end] = byte;
    end += 1;
  }
  return ended;
}

async function asked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asNotImported(error);
  }
}

/** What `postcat` complains of is about one file. */
function asNotImported(error: unknown): unknown {
  if (!(error instanceof ProgramError)) return error;
  return new NotImported(`postcat cannot read it: ${error.message}`, { cause: error });
}
