import { posix } from "node:path";
import type { Step } from "./recording.ts";

/** What a device writes whole or not at all. */
export const SECTOR_BYTES = 512;

/** Files whose bytes nothing reads after a power cut: SQLite makes its shared memory anew, and the reserve is only space. */
const UNREAD = /(?:-shm|\/reserve)$/u;

/** A change of a file's bytes or size that no sync has covered yet. */
export interface DataChange {
  readonly at: number;
  readonly inode: Inode;
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Of the whole file, behind this change. */
  readonly size: number;
}

/** A change of names that no sync has covered yet, atomic: `undefined` is a name that goes. */
export interface NameChange {
  readonly at: number;
  readonly text: string;
  readonly names: readonly (readonly [path: string, inode: Inode | undefined])[];
}

export interface Inode {
  readonly number: number;
  readonly isDirectory: boolean;
  /** What a power cut leaves for certain. */
  synced: Uint8Array;
  pending: DataChange[];
  /** As the programs see it. */
  size: number;
}

interface Opened {
  readonly inode: Inode;
  /** By which it was opened. */
  readonly path: string;
}

/** What of the changes that no sync had covered is on the disk after a power cut. */
export interface Survival {
  /** For people: what was meant. */
  readonly label: string;
  readonly names: ReadonlySet<number>;
  /** By change: whether each of its sectors got there. */
  readonly data: ReadonlyMap<number, "whole" | readonly boolean[]>;
  /** Files have the size that they were to have, although bytes are missing; else that of the last change that survived. */
  readonly grown: boolean;
  /** What stands where a file has grown and nothing was written. */
  readonly garbage: boolean;
}

/** A tree of files: the bytes of each by its path, or `null` for a directory. */
export type Image = ReadonlyMap<string, Uint8Array | null>;

/**
 * A disk as it may be after a power cut: what ext4 and XFS may do at worst where the program has not synced.
 *
 * - A file's bytes and size are safe once an `fsync` or `fdatasync` that was started behind them has returned. Its name is
 *   not, however new the file is.
 * - What is not synced may be there or not, each sector of 512 octets by itself: a page goes to the disk at any time and
 *   is torn anywhere. A sector holds what the file had there at one instant: never a later change without an earlier one.
 * - A file that has grown may have its new size without the bytes. What is missing reads as zeros or, without ordered
 *   data, as anything. A file that is written over keeps its old bytes there.
 * - Making, removing, renaming and linking are each atomic: a rename never leaves both names of a file missing. They are
 *   safe once the directory of one of their names is synced. Until then any of them may be missing while later
 *   ones are there, as long as those concern other files and other names. A journalled file system keeps their order; that
 *   the engine does not count on it makes it right for the others too.
 * - A name in a directory that has no name itself is lost.
 */
export class Disk {
  readonly #handles = new Map<number, Opened>();
  readonly #syncs = new Map<number, number>();
  readonly #syncedNames: Map<string, Inode>;
  readonly #names: Map<string, Inode>;
  #pendingNames: NameChange[] = [];
  #changes = 0;
  #inodes = 0;
  #version = 0;

  /** Everything in `image` is safe. */
  constructor(image: Image) {
    this.#syncedNames = new Map(
      [...image].map(([path, bytes]) => {
        const inode = this.#newInode(bytes === null);
        inode.synced = bytes ?? inode.synced;
        inode.size = inode.synced.length;
        return [path, inode];
      }),
    );
    this.#names = new Map(this.#syncedNames);
  }

  /** Counts what became safe: between two syncs it stays the same. */
  get version(): number {
    return this.#version;
  }

  get pendingNames(): readonly NameChange[] {
    return this.#pendingNames;
  }

  /** Of all files that have a name, or had one that may come back. */
  pendingData(): readonly DataChange[] {
    const inodes = new Set(this.#names.values());
    for (const inode of this.#syncedNames.values()) inodes.add(inode);
    for (const { names } of this.#pendingNames) {
      for (const [, inode] of names) if (inode) inodes.add(inode);
    }
    return [...inodes].flatMap(({ pending }) => pending).sort((a, b) => a.at - b.at);
  }

  /** A path that the inode has or had, for people. */
  pathOf(inode: Inode): string {
    for (const names of [this.#names, this.#syncedNames]) {
      for (const [path, other] of names) if (other === inode) return path;
    }
    return `inode ${inode.number}`;
  }

  take(step: Step): void {
    if (step.kind === "open") this.#open(step);
    else if (step.kind === "write") this.#write(step.handle, step.bytes, step.offset);
    else if (step.kind === "truncate") this.#truncate(this.#opened(step.handle), step.size);
    else if (step.kind === "sync-start") this.#syncs.set(step.sync, this.#changes);
    else if (step.kind === "sync-end") this.#sync(step.handle, this.#syncs.get(step.sync) ?? 0);
    else if (step.kind === "unlink") this.#rename(`unlink ${step.path}`, [[step.path, undefined]]);
    else if (step.kind === "mkdir") {
      this.#rename(`mkdir ${step.path}`, [[step.path, this.#newInode(true)]]);
    } else if (step.kind === "link") {
      this.#rename(`link ${step.path} ${step.to}`, [[step.to, this.#named(step.path)]]);
    } else if (step.kind === "rename") {
      const inode = this.#named(step.path);
      const text = `rename ${step.path} ${step.to}`;
      this.#rename(text, [
        [step.path, undefined],
        [step.to, inode],
      ]);
    }
  }

  /** What the programs see. */
  current(): Image {
    const data = new Map(this.pendingData().map(({ at }) => [at, "whole" as const]));
    const names = new Set(this.#pendingNames.map(({ at }) => at));
    return this.image({ label: "", names, data, grown: true, garbage: false });
  }

  /** What is on the disk when of all that is pending this survived. */
  image(survival: Survival): Image {
    const names = new Map(this.#syncedNames);
    for (const change of this.#pendingNames) {
      if (survival.names.has(change.at)) applyNames(names, change);
    }
    const image = new Map<string, Uint8Array | null>();
    for (const path of [...names.keys()].sort()) {
      const inode = names.get(path);
      const parent = posix.dirname(path);
      if (inode === undefined || (parent !== "." && image.get(parent) !== null)) continue;
      image.set(path, inode.isDirectory ? null : bytesOf(inode, survival));
    }
    return image;
  }

  /** These changes of names and the ones that they cannot be without. */
  withCauses(chosen: ReadonlySet<number>): ReadonlySet<number> {
    const closed = new Set<number>();
    const touched = new Set<unknown>();
    for (const change of this.#pendingNames.toReversed()) {
      const touches = change.names.flatMap(([path, inode]) => [path, inode, this.#moved(change)]);
      if (!chosen.has(change.at) && !touches.some((each) => each && touched.has(each))) continue;
      closed.add(change.at);
      for (const each of touches) if (each) touched.add(each);
    }
    return closed;
  }

  /** The inode that loses a name without getting another. */
  #moved(change: NameChange): Inode | undefined {
    return this.#unnamed.get(change);
  }

  readonly #unnamed = new WeakMap<NameChange, Inode>();

  #open({ handle, path, flags }: Step & { kind: "open" }): void {
    // What is watched has no name here.
    let inode = path === "" ? this.#newInode(true) : this.#names.get(path);
    if (inode === undefined && flags.create) {
      inode = this.#newInode(false);
      this.#rename(`create ${path}`, [[path, inode]]);
    }
    inode ??= this.#named(path);
    this.#handles.set(handle, { inode, path });
    if (flags.truncate) this.#truncate({ inode, path }, 0);
  }

  #write(handle: number, bytes: Uint8Array, at: number | undefined): void {
    const { inode, path } = this.#opened(handle);
    if (UNREAD.test(path)) return;
    const offset = at ?? inode.size;
    this.#changeData(inode, { offset, bytes, size: Math.max(inode.size, offset + bytes.length) });
  }

  #truncate({ inode, path }: Opened, size: number): void {
    if (size === inode.size || UNREAD.test(path)) return;
    const cut = new Uint8Array(Math.max(0, inode.size - size));
    this.#changeData(inode, { offset: size, bytes: cut, size });
  }

  #changeData(inode: Inode, change: Pick<DataChange, "offset" | "bytes" | "size">): void {
    this.#changes += 1;
    inode.size = change.size;
    inode.pending.push({ at: this.#changes, inode, ...change });
  }

  #rename(text: string, names: NameChange["names"]): void {
    this.#changes += 1;
    const change = { at: this.#changes, text, names };
    const gone = names.flatMap(([path]) => this.#names.get(path) ?? [])[0];
    if (gone) this.#unnamed.set(change, gone);
    this.#pendingNames.push(change);
    applyNames(this.#names, change);
  }

  #sync(handle: number, upTo: number): void {
    const { inode, path } = this.#opened(handle);
    if (inode.isDirectory) this.#syncNames(path, upTo);
    else this.#syncData(inode, upTo);
  }

  #syncData(inode: Inode, upTo: number): void {
    const covered = inode.pending.filter(({ at }) => at <= upTo);
    if (covered.length === 0) return;
    const data = new Map(covered.map(({ at }) => [at, "whole" as const]));
    const names: ReadonlySet<number> = new Set();
    inode.synced = bytesOf(inode, { label: "", names, data, grown: false, garbage: false });
    inode.pending = inode.pending.filter(({ at }) => at > upTo);
    this.#version += 1;
  }

  #syncNames(directory: string, upTo: number): void {
    const isIn = ([path]: readonly [string, unknown]) => parentOf(path) === directory;
    const inside = this.#pendingNames.filter(({ at, names }) => at <= upTo && names.some(isIn));
    if (inside.length === 0) return;
    const safe = this.withCauses(new Set(inside.map(({ at }) => at)));
    for (const change of this.#pendingNames) {
      if (safe.has(change.at)) applyNames(this.#syncedNames, change);
    }
    this.#pendingNames = this.#pendingNames.filter(({ at }) => !safe.has(at));
    this.#version += 1;
  }

  #opened(handle: number): Opened {
    return this.#handles.get(handle) ?? fail(`no handle ${handle}`);
  }

  #named(path: string): Inode {
    return this.#names.get(path) ?? fail(`no file ${path}`);
  }

  #newInode(isDirectory: boolean): Inode {
    this.#inodes += 1;
    const [synced, size] = [new Uint8Array(0), 0];
    return { number: this.#inodes, isDirectory, synced, pending: [], size };
  }
}

/** Of a path at the top: the empty path, which is what is watched. */
function parentOf(path: string): string {
  const parent = posix.dirname(path);
  return parent === "." ? "" : parent;
}

function applyNames(names: Map<string, Inode>, change: NameChange): void {
  for (const [path, inode] of change.names) {
    if (inode === undefined) names.delete(path);
    else names.set(path, inode);
  }
}

function fail(message: string): never {
  throw new Error(message);
}

/** The bytes of a file of whose pending changes some survived. */
function bytesOf(inode: Inode, { data, grown, garbage }: Survival): Uint8Array {
  const { pending, synced } = inode;
  if (pending.length === 0) return synced;
  const last = pending.findLast(({ at }) => data.has(at));
  const size = (grown ? pending.at(-1)?.size : last?.size) ?? synced.length;
  const end = Math.max(
    size,
    synced.length,
    ...pending.map(({ offset, bytes }) => offset + bytes.length),
  );
  const all = new Uint8Array(end);
  if (garbage) for (let index = synced.length; index < end; index += 1) all[index] = index * 31 + 7;
  all.set(synced);
  const latest = latestBySector(pending, data);
  for (const [index, change] of pending.entries()) {
    for (const part of sectorsOf(change)) {
      if ((latest.get(part.sector) ?? -1) < index) continue;
      all.set(change.bytes.subarray(part.from, part.to), change.offset + part.from);
    }
  }
  return all.subarray(0, size);
}

/** For each sector the last change that got there: what it held then includes the earlier ones. */
function latestBySector(
  pending: readonly DataChange[],
  data: Survival["data"],
): Map<number, number> {
  const latest = new Map<number, number>();
  for (const [index, change] of pending.entries()) {
    const got = data.get(change.at);
    if (got === undefined) continue;
    for (const [part, { sector }] of sectorsOf(change).entries()) {
      if (got === "whole" || got[part]) latest.set(sector, index);
    }
  }
  return latest;
}

/** Which octets of a change lie in which sector of the file. */
export function sectorsOf({ offset, bytes }: Pick<DataChange, "offset" | "bytes">) {
  const parts: { readonly sector: number; readonly from: number; readonly to: number }[] = [];
  for (let from = 0; from < bytes.length; ) {
    const sector = Math.floor((offset + from) / SECTOR_BYTES);
    const to = Math.min(bytes.length, (sector + 1) * SECTOR_BYTES - offset);
    parts.push({ sector, from, to });
    from = to;
  }
  return parts;
}
