import * as fs from "node:fs";
import { bodyContent } from "../../../src/mail/content.ts";
import type { Envelope } from "../../../src/mail/envelope.ts";
import type { Event } from "../../../src/observe/events.ts";
import type { DiskStorage } from "../../../src/storage/disk/disk-storage.ts";
import { realFiles, type SpoolFiles } from "../../../src/storage/disk/files.ts";
import { fsckSpool } from "../../../src/storage/disk/fsck.ts";
import { openDiskStorage } from "../../../src/storage/disk/open.ts";
import { blockEnd, parseBlockHeader, scanSegment } from "../../../src/storage/disk/segment.ts";
import { readRecord } from "../../../src/storage/record.ts";
import { OPTIONS } from "../../storage/disk-fixture.ts";
import { bytesOf, envelope, idOf, testWorld } from "../../storage/fixtures.ts";
import type { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

/** A message that was acknowledged, and where its bytes are. */
export interface Known {
  readonly id: string;
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly text: string;
  /** The file, below the spool, and the octets of it that are this message's. */
  readonly file: string;
  readonly ranges: readonly (readonly [from: number, to: number])[];
}

/** A spool as it lies on the disk, with what must come out of it. */
export interface Template {
  readonly name: string;
  readonly directory: string;
  readonly known: ReadonlyMap<string, Known>;
  /** Ids whose messages have ended: they may not come back while queue.db is there. */
  readonly ended: ReadonlySet<string>;
}

/** No read is larger: a length that a damaged file claims must not become an allocation. */
const READ_BYTES_MAX = 160 * 1024 * 1024;
const LARGE_BODY_BYTES = 300_000;

/** Ordinary spools: closed in order, killed in the middle, with a database that is behind its segments. */
export async function templates(dir: TempDir): Promise<readonly Template[]> {
  return [
    await template("closed", dir, { killed: false, behind: false }),
    await template("killed", dir, { killed: true, behind: false }),
    await template("behind", dir, { killed: true, behind: true }),
  ];
}

async function template(
  name: string,
  dir: TempDir,
  { killed, behind }: { readonly killed: boolean; readonly behind: boolean },
): Promise<Template> {
  const work = dir.join(`${name}-work`);
  const directory = dir.join(name);
  const storage = await openSpoolAt(work);
  await fill(storage, 0);
  const early = dir.join(`${name}-early`);
  if (behind) fs.cpSync(work, early, { recursive: true });
  await fill(storage, 50);
  await storage.remove(idOf(3));
  await storage.remove(idOf(53));
  if (killed) fs.cpSync(work, directory, { recursive: true });
  await storage.close();
  if (!killed) fs.cpSync(work, directory, { recursive: true });
  if (behind) {
    for (const suffix of ["", "-wal", "-shm"]) {
      fs.rmSync(`${directory}/queue.db${suffix}`, { force: true });
      if (fs.existsSync(`${early}/queue.db${suffix}`)) {
        fs.cpSync(`${early}/queue.db${suffix}`, `${directory}/queue.db${suffix}`);
      }
    }
  }
  const ended = new Set(behind ? [] : [idOf(3), idOf(53)]);
  return { name, directory, known: await knownOf(directory, ended), ended };
}

/** Single messages, parts that share a body, a body of its own segment; some tried, held, partly delivered. */
async function fill(storage: DiskStorage, from: number): Promise<void> {
  const id = (index: number) => idOf(from + index);
  for (const index of [0, 1, 2]) {
    const to = [`one@d${index}.example`, "two@other.example"];
    const text = `Subject: ${from + index}\r\n\r\n${`line ${index}\r\n`.repeat(40 * (index + 1))}`;
    await storage.write([envelope({ sender: `s${index}@example.org`, to, text })], 1, {
      ids: [id(index)],
    });
  }
  await storage.write([envelope({ text: "ends" })], 1, { ids: [id(3)] });
  const shared = envelope({ text: "Subject: shared\r\n\r\nthe same body for all\r\n" });
  const parts = ["x", "y", "z"].map((domain) => ({
    ...shared,
    recipients: [{ index: 0, address: `a@${domain}` }],
  }));
  await storage.write(parts, 1, { ids: [id(4), id(5), id(6)] });
  const sink = await storage.openBody();
  for (let done = 0; done < LARGE_BODY_BYTES; done += 50_000)
    await sink.write(new Uint8Array(50_000).fill(65 + (done % 26)));
  await storage.write([envelope({ content: bodyContent(await sink.end()) })], 1, { ids: [id(7)] });
  await storage.incrementAttempts(id(0));
  await storage.setHeld(id(1), true);
  await storage.setRecipientsDelivered(id(2), [0]);
  await storage.lease(10, 1, { holder: "h", until: 1e15 });
}

/** Reads every record of an undamaged spool: what is acknowledged and not ended. */
async function knownOf(directory: string, ended: ReadonlySet<string>): Promise<Map<string, Known>> {
  const known = new Map<string, Known>();
  for (const file of segmentFiles(directory)) {
    const bytes = fs.readFileSync(`${directory}/${file}`);
    const read = async (offset: number, length: number) => bytes.subarray(offset, offset + length);
    const scan = await scanSegment({ size: bytes.length, read });
    for (const { block, payload } of scan?.envelopes ?? []) {
      const record = payload && readRecord(payload);
      if (record === undefined || ended.has(record.id)) continue;
      const body = parseBlockHeader(bytes, record.bodyOffset);
      if (body === undefined) throw new Error(`${file} is damaged before the test has begun`);
      const start = record.bodyOffset + 24;
      known.set(record.id, {
        id: record.id,
        sender: record.envelope.sender,
        recipients: record.envelope.recipients.map(({ address }) => address),
        text: textOf(record.prefix) + textOf(bytes.subarray(start, start + record.bodyLength)),
        file,
        ranges: [
          [block.offset, blockEnd(block)],
          [body.offset, blockEnd(body)],
        ],
      });
    }
  }
  return known;
}

/** Ended messages whose records are still in a segment: without queue.db they come again. */
export function endedOf({ ended }: Template): Map<string, Known> {
  return new Map(
    [...ended].map((id) => [
      id,
      {
        id,
        sender: "sender@example.org",
        recipients: ["one@example.com"],
        text: "ends",
        file: "",
        ranges: [],
      },
    ]),
  );
}

export function segmentFiles(directory: string): readonly string[] {
  const list = (path: string) =>
    fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ? fs.readdirSync(path) : [];
  return list(`${directory}/content`)
    .flatMap((shard) =>
      list(`${directory}/content/${shard}`).map((name) => `content/${shard}/${name}`),
    )
    .filter((name) => name.endsWith(".seg"))
    .sort();
}

const bounded: SpoolFiles = {
  ...realFiles,
  readAt(fd, length, position) {
    if (length > READ_BYTES_MAX) throw new Error(`${length} octets are read at once`);
    return realFiles.readAt(fd, length, position);
  },
};

export function openSpoolAt(directory: string, events: Event[] = []): Promise<DiskStorage> {
  const emit = (event: Event) => void events.push(event);
  return openDiskStorage({ directory, ...OPTIONS }, { world: testWorld(), emit, files: bounded });
}

/** What one life of the daemon makes of a spool. */
export interface Life {
  /** Ids that came out whole. */
  readonly found: ReadonlySet<string>;
  readonly corrupt: number;
  readonly reported: number;
}

/**
 * Opens a spool as the daemon does and asks for everything in it, as the runner and the operator do. Throws when anything
 * comes out that was not put in, or when something is told in another way than the contract's errors.
 */
export async function live(
  directory: string,
  known: ReadonlyMap<string, Known>,
  unknownIds: "none" | "any" = "none",
): Promise<Life> {
  const events: Event[] = [];
  const storage = await openSpoolAt(directory, events);
  try {
    await storage.sweepOrphans();
    const found = new Set<string>();
    await storage.nextDue();
    const leased = await storage.lease(Number.MAX_SAFE_INTEGER, 1000, {
      holder: "life",
      until: 1e15,
    });
    const listed = await storage.list({ limit: 1000 });
    for (const { id } of listed) {
      if (found.has(id)) throw new Error(`${id} is listed twice`);
      if (await comesOut(storage, id, known, unknownIds)) found.add(id);
    }
    for (const { id, state } of listed) {
      const isReady = state === "hold" || leased.some((lease) => lease.id === id);
      if (found.has(id) && !isReady) throw new Error(`${id} is stored and never due`);
    }
    await storage.getInfo();
    await storage.probe();
    const { corrupt } = await storage.getInfo();
    return { found, corrupt, reported: events.filter(({ kind }) => kind === "corrupt").length };
  } finally {
    await storage.close();
  }
}

/** False: it was moved aside, as it must be when its bytes are gone. */
async function comesOut(
  storage: DiskStorage,
  id: string,
  known: ReadonlyMap<string, Known>,
  unknownIds: "none" | "any",
): Promise<boolean> {
  const expected = known.get(id);
  try {
    const { envelope: stored } = await storage.get(id);
    const text = textOf(await bytesOf(stored.content));
    if (expected === undefined) {
      if (unknownIds === "none") throw new Error(`${id} was never accepted: ${stored.sender}`);
      return true;
    }
    assertSame(stored, text, expected);
    return true;
  } catch (error) {
    const name = error instanceof Error ? error.name : "";
    // A large body is found to be damaged while it is streamed, and moved aside behind its reader's back.
    if (name === "DamagedError")
      await until(`${id} is moved aside`, async () => !(await isListed(storage, id)));
    if (["CorruptError", "NotFoundError", "DamagedError"].includes(name)) return false;
    throw error;
  }
}

async function isListed(storage: DiskStorage, id: string): Promise<boolean> {
  return (await storage.list({ limit: 1000 })).some((message) => message.id === id);
}

function assertSame(stored: Envelope, text: string, expected: Known): void {
  const { id, sender, recipients } = expected;
  if (text !== expected.text) throw new Error(`${id} has another content`);
  if (stored.sender !== sender) throw new Error(`${id} is from ${stored.sender}`);
  for (const { index, address } of stored.recipients) {
    if (recipients[index] !== address)
      throw new Error(`${id} goes to ${address} as number ${index}`);
  }
}

/** Runs fsck and returns what it reports. */
export async function check(directory: string, repair: boolean) {
  const lines: string[] = [];
  const report = (line: string) => void lines.push(line);
  const result = await fsckSpool(
    directory,
    { repair },
    { world: testWorld(), report, files: bounded },
  );
  return { ...result, lines };
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}
