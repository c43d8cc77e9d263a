import * as fs from "node:fs";
import { statfs } from "node:fs/promises";
import { codeOf } from "../../lib/error-code.ts";

/**
 * Every file operation of the disk engine, so that tests can make each of them fail, stall or be forgotten. The quick
 * ones that only touch the page cache are synchronous: handing them to another thread costs more than they do.
 */
export interface SpoolFiles {
  /** Makes a file that must not exist yet, for writing. */
  create(path: string): number;
  /** Files only: what else has the name (a directory, a pipe, a device) is an error, and is not waited for. */
  openForRead(path: string): number;
  /** Opens a file that exists, to be written over from its start. */
  openForReuse(path: string): number;
  close(fd: number): void;
  /** Writes everything at the end. */
  append(fd: number, bytes: Uint8Array): void;
  /** As `append`, without blocking anybody: for bytes too many for one go. */
  appendSlowly(fd: number, bytes: Uint8Array): Promise<void>;
  writeAt(fd: number, bytes: Uint8Array, position: number): void;
  /** May return fewer bytes at the end of the file. */
  readAt(fd: number, length: number, position: number): Promise<Uint8Array>;
  size(fd: number): number;
  /** Octets, and how many names the file has. */
  status(path: string): { readonly size: number; readonly names: number };
  /** The file's bytes survive a power cut. */
  syncData(fd: number): Promise<void>;
  /** The names in a directory survive a power cut. */
  syncDirectory(path: string): Promise<void>;
  rename(from: string, to: string): void;
  /** Gives a file a second name, so that it outlives the first. */
  link(from: string, to: string): void;
  /** Removes a file; one that is gone already is fine. */
  unlink(path: string): Promise<void>;
  list(path: string): readonly string[];
  makeDirectory(path: string): void;
  exists(path: string): boolean;
  freeSpace(path: string): Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
}

const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;

/** The real file system. */
export const realFiles: SpoolFiles = {
  create: (path) => fs.openSync(path, "wx", PRIVATE_FILE),
  openForRead(path) {
    const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    if (fs.fstatSync(fd).isFile()) return fd;
    fs.closeSync(fd);
    throw Object.assign(new Error(`${path} is no file`), { code: "EISDIR" });
  },
  openForReuse: (path) => fs.openSync(path, "r+"),
  close: (fd) => fs.closeSync(fd),
  append(fd, bytes) {
    for (let done = 0; done < bytes.length; ) done += fs.writeSync(fd, bytes, done);
  },
  async appendSlowly(fd, bytes) {
    for (let done = 0; done < bytes.length; ) done += await writeSome(fd, bytes, done);
  },
  writeAt(fd, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      done += fs.writeSync(fd, bytes, done, bytes.length - done, position + done);
    }
  },
  async readAt(fd, length, position) {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const count = await readSome(fd, bytes, done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done === length ? bytes : bytes.subarray(0, done);
  },
  size: (fd) => fs.fstatSync(fd).size,
  status(path) {
    const { size, nlink } = fs.statSync(path);
    return { size, names: nlink };
  },
  syncData: (fd) => settled((done) => fs.fdatasync(fd, done)),
  async syncDirectory(path) {
    const fd = fs.openSync(path, "r");
    try {
      await settled((done) => fs.fsync(fd, done));
    } finally {
      fs.closeSync(fd);
    }
  },
  rename: (from, to) => fs.renameSync(from, to),
  link: (from, to) => fs.linkSync(from, to),
  async unlink(path) {
    await settled((done) => fs.unlink(path, (error) => done(isMissing(error) ? null : error)));
  },
  list: (path) => fs.readdirSync(path),
  makeDirectory: (path) => {
    fs.mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY });
  },
  exists: (path) => fs.existsSync(path),
  async freeSpace(path) {
    const { bavail, blocks, bsize } = await statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};

/** Whether an error says that a file is not there. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}

const NO_FILE = new Set(["ENOENT", "EISDIR", "ENOTDIR", "ELOOP", "ENXIO"]);

/** Whether an error says that there is no file of that name, whatever else there may be. */
export function isNoFile(error: unknown): boolean {
  return NO_FILE.has(codeOf(error));
}

/** The names in a directory; none when there is no directory of that name. */
export function namesIn(files: Pick<SpoolFiles, "list">, path: string): readonly string[] {
  try {
    return files.list(path);
  } catch (error) {
    if (isNoFile(error)) return [];
    throw error;
  }
}

function settled(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()));
  });
}

function writeSome(fd: number, bytes: Uint8Array, from: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, bytes, from, bytes.length - from, null, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}

function readSome(fd: number, into: Uint8Array, at: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, into, at, into.length - at, position, (error, count) =>
      error ? reject(error) : resolve(count),
    );
  });
}
