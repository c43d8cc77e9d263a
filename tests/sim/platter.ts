import { dirname } from "node:path";
import type { SpoolFiles } from "../../src/storage/disk/files.ts";
import { DeadError, type Life } from "./life.ts";

/** Bytes that reach a disk together or not at all. */
const SECTOR = 512;

interface Inode {
  bytes: Uint8Array;
  size: number;
  /** What a power cut leaves for certain. */
  durable: Uint8Array;
  names: number;
  isDirty: boolean;
  /** Counts writes. */
  version: number;
}

interface Directory {
  readonly now: Map<string, Inode>;
  readonly durable: Map<string, Inode>;
  isDurable: boolean;
}

interface OpenFile {
  readonly path: string;
  /** Absent for the write-ahead file of queue.db, which is SQLite's. */
  readonly inode?: Inode;
  position: number;
}

export interface FileFault {
  readonly operation: string;
  readonly kind: "ENOSPC" | "EIO" | "torn" | "late" | "stall";
  readonly ms: number;
  times: number;
}

export interface PlatterParts {
  readonly random: () => number;
  /** What one sync takes. */
  readonly syncMs: number;
  /** A directory is about to be used. SQLite's files in it are real. */
  readonly onDirectory: (path: string) => void;
  /** What to do when a sync of SQLite's write-ahead file has begun; what that returns is done when it has ended. */
  readonly onWalSync: () => () => void;
  readonly onDirectorySync: (path: string) => void;
}

/**
 * The disk of a simulated world. It knows of each byte and each name whether they were made durable, fails as it is told,
 * and can lose its power between any two operations.
 */
export class Platter {
  readonly #parts: PlatterParts;
  readonly #directories = new Map<string, Directory>();
  #open = new Map<number, OpenFile>();
  #fd = 1000;
  readonly faults: FileFault[] = [];
  /** Called in place of the operation when the count down ends. */
  #crash: { left: number; run: () => void } | undefined;
  /** Whoever looks on changes nothing: no faults, no time, no countdown. */
  isWatched = false;
  operations = 0;
  /** What is under way may take until then: a fault begins when it is met, which may be long after it was set. */
  stalledUntil = 0;

  constructor(parts: PlatterParts) {
    this.#parts = parts;
  }

  get openFiles(): number {
    return this.#open.size;
  }

  /** After so many operations more, `run` is called in place of the next. */
  crashAfter(operations: number, run: () => void): void {
    this.#crash = { left: operations, run };
  }

  /** Power is lost: unsynced names are there or not, unsynced bytes are old or new, sector by sector. */
  cut(): void {
    this.#crash = undefined;
    this.#open = new Map();
    const { random } = this.#parts;
    const inodes = new Set<Inode>();
    const lost = new Set<string>();
    for (const [path, directory] of this.#directories) {
      if (lost.has(dirname(path)) || (!directory.isDurable && random() < 0.5)) {
        lost.add(path);
        this.#directories.delete(path);
        continue;
      }
      const survivors = this.#survivingNames(directory);
      directory.now.clear();
      directory.durable.clear();
      for (const [name, inode] of survivors) {
        directory.now.set(name, inode);
        directory.durable.set(name, inode);
        inodes.add(inode);
      }
    }
    for (const inode of inodes) {
      inode.names = 0;
      if (inode.isDirty) this.#tear(inode);
    }
    for (const { now } of this.#directories.values())
      for (const inode of now.values()) inode.names += 1;
  }

  /** The process has ended in peace: its files are closed, and the system keeps all it was given. */
  forgetOpenFiles(): void {
    this.#open = new Map();
  }

  #survivingNames({ now, durable }: Directory): Map<string, Inode> {
    const { random } = this.#parts;
    const survivors = new Map(durable);
    for (const name of new Set([...now.keys(), ...durable.keys()])) {
      const inode = now.get(name);
      if (inode === durable.get(name) || random() < 0.5) continue;
      if (inode === undefined) survivors.delete(name);
      else survivors.set(name, inode);
    }
    return survivors;
  }

  #tear(inode: Inode): void {
    const { random } = this.#parts;
    const { durable } = inode;
    const isLonger = inode.size > durable.length && random() < 0.5;
    const size = isLonger ? inode.size : durable.length;
    const torn = new Uint8Array(size);
    const style = random();
    for (let at = 0; at < size; at += SECTOR) {
      const isNew = style < 0.3 || (style < 0.8 && random() < 0.5);
      const from = isNew ? inode.bytes.subarray(0, inode.size) : durable;
      torn.set(from.subarray(at, Math.min(at + SECTOR, size)), at);
    }
    Object.assign(inode, { bytes: torn, size, durable: torn, isDirty: false });
  }

  /** The file operations of one process. */
  mount(life: Life): SpoolFiles {
    const before = (operation: string): FileFault | undefined => this.#before(operation, life);
    const sync = <A extends unknown[], T>(operation: string, run: (...given: A) => T) => {
      return (...given: A): T => {
        const fault = before(operation);
        if (fault && fault.kind !== "late") throw systemError(fault.kind);
        const result = run(...given);
        if (fault === undefined) return result;
        // Whoever opens a file and is told that it failed has nothing to close.
        if (typeof result === "number") this.#open.delete(result);
        throw systemError("EIO");
      };
    };
    const later = <A extends unknown[], T>(
      operation: string,
      begin: (...given: A) => () => T,
      takesMs = 0,
    ) => {
      return async (...given: A): Promise<T> => {
        const fault = before(operation);
        const finish = begin(...given);
        const ms = this.isWatched ? 0 : takesMs + (fault?.kind === "stall" ? fault.ms : 0);
        if (fault?.kind === "stall")
          this.stalledUntil = Math.max(this.stalledUntil, life.clock.now() + ms);
        if (ms > 0) await new Promise<void>((resolve) => this.#wait(life, ms, resolve));
        if (life.isDead) throw new DeadError(operation);
        if (fault && fault.kind !== "late" && fault.kind !== "stall") throw systemError(fault.kind);
        const result = finish();
        if (fault?.kind === "late") throw systemError("EIO");
        return result;
      };
    };
    const { syncMs } = this.#parts;
    return {
      create: sync("create", (path: string) => {
        const directory = this.#directory(dirname(path));
        if (directory.now.has(nameOf(path))) throw systemError("EEXIST");
        const nothing = new Uint8Array(0);
        const inode = {
          bytes: nothing,
          size: 0,
          durable: nothing,
          names: 1,
          isDirty: true,
          version: 0,
        };
        directory.now.set(nameOf(path), inode);
        return this.#opened({ path, inode, position: 0 });
      }),
      openForRead: sync("openForRead", (path: string) => this.#openExisting(path)),
      openForReuse: sync("openForReuse", (path: string) => this.#openExisting(path)),
      close: (fd) => {
        // Also the dead close what they had, to no effect.
        if (!life.isDead) this.#open.delete(fd);
      },
      append: (fd, bytes) => this.#append(fd, bytes, before("append")),
      appendSlowly: later("appendSlowly", (fd: number, bytes: Uint8Array) => () => {
        this.#append(fd, bytes, undefined);
      }),
      writeAt: sync("writeAt", (fd: number, bytes: Uint8Array, position: number) => {
        write(this.#file(fd).inode, bytes, position);
      }),
      readAt: later("readAt", (fd: number, length: number, position: number) => {
        const { inode } = this.#file(fd);
        return () => inode.bytes.slice(position, Math.min(position + length, inode.size));
      }),
      size: sync("size", (fd: number) => this.#file(fd).inode.size),
      status: sync("status", (path: string) => {
        const { size, names } = this.#inode(path);
        return { size, names };
      }),
      syncData: later("syncData", (fd: number) => this.#syncData(fd), syncMs),
      syncDirectory: later(
        "syncDirectory",
        (path: string) => () => this.#syncDirectory(path),
        syncMs,
      ),
      rename: sync("rename", (from: string, to: string) => {
        const inode = this.#inode(from);
        this.#directory(dirname(from)).now.delete(nameOf(from));
        const target = this.#directory(dirname(to)).now;
        const replaced = target.get(nameOf(to));
        if (replaced) replaced.names -= 1;
        target.set(nameOf(to), inode);
      }),
      link: sync("link", (from: string, to: string) => {
        const inode = this.#inode(from);
        const target = this.#directory(dirname(to)).now;
        if (target.has(nameOf(to))) throw systemError("EEXIST");
        target.set(nameOf(to), inode);
        inode.names += 1;
      }),
      unlink: later("unlink", (path: string) => () => {
        const { now } = this.#directory(dirname(path));
        const inode = now.get(nameOf(path));
        if (inode) inode.names -= 1;
        now.delete(nameOf(path));
      }),
      list: sync("list", (path: string) => this.#names(path)),
      makeDirectory: sync("makeDirectory", (path: string) => this.#makeDirectory(path)),
      exists: sync("exists", (path: string) => this.#exists(path)),
      freeSpace: later("freeSpace", () => () => ({ freeBytes: 2 ** 40, totalBytes: 2 ** 41 })),
    };
  }

  #before(operation: string, life: Life): FileFault | undefined {
    if (life.isDead) throw new DeadError(operation);
    if (this.isWatched) return undefined;
    this.operations += 1;
    if (this.#crash !== undefined) {
      if (this.#crash.left === 0) {
        const { run } = this.#crash;
        this.#crash = undefined;
        run();
        throw new DeadError(operation);
      }
      this.#crash.left -= 1;
    }
    const index = this.faults.findIndex((fault) => fault.operation === operation);
    const fault = this.faults[index];
    if (fault === undefined) return undefined;
    fault.times -= 1;
    if (fault.times <= 0) this.faults.splice(index, 1);
    return fault;
  }

  /** Also the dead get an answer: that they are dead. */
  #wait(life: Life, ms: number, resolve: () => void): void {
    const done = (): void => {
      this.#deaths.delete(done);
      resolve();
    };
    life.clock.after(ms, done);
    this.#deaths.add(done);
  }

  readonly #deaths = new Set<() => void>();

  /** Whoever waits for the disk and is dead by now learns of it. */
  wakeDead(): void {
    for (const done of [...this.#deaths]) done();
  }

  #append(fd: number, bytes: Uint8Array, fault: FileFault | undefined): void {
    const file = this.#file(fd);
    if (fault?.kind === "torn") {
      const half = bytes.subarray(0, bytes.length >> 1);
      write(file.inode, half, file.position);
      file.position += half.length;
    }
    if (fault && fault.kind !== "late" && fault.kind !== "stall") throw systemError(fault.kind);
    write(file.inode, bytes, file.position);
    file.position += bytes.length;
    if (fault?.kind === "late") throw systemError("EIO");
  }

  #syncData(fd: number): () => void {
    const file = this.#open.get(fd);
    if (file === undefined) throw systemError("EBADF");
    const { inode } = file;
    if (inode === undefined) return this.#parts.onWalSync();
    const { version } = inode;
    const bytes = inode.bytes.slice(0, inode.size);
    return () => {
      inode.durable = bytes;
      // What was written meanwhile is for the next sync.
      if (inode.version === version) inode.isDirty = false;
    };
  }

  #syncDirectory(path: string): void {
    for (const [other, child] of this.#directories)
      if (dirname(other) === path) child.isDurable = true;
    const directory = this.#directories.get(path);
    if (directory === undefined) return;
    directory.durable.clear();
    for (const [name, inode] of directory.now) directory.durable.set(name, inode);
    this.#parts.onDirectorySync(path);
  }

  #makeDirectory(path: string): void {
    if (this.#directories.has(path)) return;
    this.#directories.set(path, { now: new Map(), durable: new Map(), isDurable: false });
    this.#parts.onDirectory(path);
  }

  #exists(path: string): boolean {
    if (this.#directories.has(path)) return true;
    return this.#directories.get(dirname(path))?.now.has(nameOf(path)) ?? false;
  }

  #names(path: string): readonly string[] {
    const names = [...this.#directory(path).now.keys()];
    for (const other of this.#directories.keys())
      if (dirname(other) === path) names.push(nameOf(other));
    return names;
  }

  #directory(path: string): Directory {
    const directory = this.#directories.get(path);
    if (directory === undefined) throw systemError("ENOENT");
    return directory;
  }

  #inode(path: string): Inode {
    const inode = this.#directory(dirname(path)).now.get(nameOf(path));
    if (inode === undefined) throw systemError("ENOENT");
    return inode;
  }

  #openExisting(path: string): number {
    if (path.endsWith("queue.db-wal")) return this.#opened({ path, position: 0 });
    return this.#opened({ path, inode: this.#inode(path), position: 0 });
  }

  #opened(file: OpenFile): number {
    this.#fd += 1;
    this.#open.set(this.#fd, file);
    return this.#fd;
  }

  #file(fd: number): OpenFile & { readonly inode: Inode } {
    const file = this.#open.get(fd);
    if (file?.inode === undefined) throw systemError("EBADF");
    return file as OpenFile & { readonly inode: Inode };
  }
}

function write(inode: Inode, bytes: Uint8Array, position: number): void {
  const end = position + bytes.length;
  if (end > inode.bytes.length) {
    const larger = new Uint8Array(Math.max(end, 2 * inode.bytes.length));
    larger.set(inode.bytes.subarray(0, inode.size));
    inode.bytes = larger;
  } else if (inode.bytes === inode.durable) inode.bytes = inode.bytes.slice();
  inode.bytes.set(bytes, position);
  inode.size = Math.max(inode.size, end);
  inode.isDirty = true;
  inode.version += 1;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** An error as the system makes it. */
function systemError(kind: string): Error {
  const code = kind === "torn" || kind === "late" ? "EIO" : kind;
  return Object.assign(new Error(`${code}: as the system says it`), { code });
}
