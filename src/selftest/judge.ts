import type { SyncSpeed } from "./sync-speed.ts";
import type { BlockDevice, Volume } from "./volume.ts";

/** What follows from the facts about a volume. */
export interface Finding {
  /** A warning says that a power cut, or the end of a container, may break P1; a note says what was concluded. */
  readonly level: "warning" | "note";
  readonly text: string;
}

/**
 * No disk behind a bus answers faster. Measured: syncs on a tmpfs, which do nothing, 0.001 ms; flash whose cache is protected
 * by capacitors 0.02 to 0.05 ms; a virtual disk on such flash 0.1 ms.
 */
const NOTHING_DONE_MS = 0.015;
/** Flash that must empty a cache needs at least this. */
const FLUSH_MS = 0.05;
/** A disk that turns 15,000 times a minute, and happens to be at the right place, needs this. */
const ROTATION_MS = 1;

const MEMORY = new Set(["tmpfs", "ramfs", "devtmpfs", "hugetlbfs"]);
const NETWORK = /^(?:nfs4?|cifs|smb3?|smbfs|ceph|glusterfs|lustre|afs|beegfs|ocfs2|gfs2)$/u;
const SHARED_BY_HOST = /^(?:9p|virtiofs|vboxsf|prl_fs|drvfs)$/u;
const NO_JOURNAL = /^(?:ext2|vfat|exfat|msdos|hfs|minix)$/u;
const PROVEN = /^(?:ext[34]|xfs|btrfs|zfs|f2fs|bcachefs|jfs)$/u;

/** Judges a volume by its facts and by how long syncs took on it. Pure. */
export function judge(volume: Volume, syncs: SyncSpeed): readonly Finding[] {
  return [
    ...judgeFileSystem(volume.fileSystem),
    ...judgeOptions(volume),
    ...judgeSpeed(volume, syncs),
  ];
}

function judgeFileSystem(name: string): readonly Finding[] {
  if (MEMORY.has(name)) return [warning(`${name} is memory: everything is gone when the power is`)];
  if (name === "overlay" || name === "aufs") {
    return [
      warning(
        `${name} is the container's own layer: mail is lost with the container; use a volume`,
      ),
    ];
  }
  if (NETWORK.test(name)) {
    return [warning(`${name}: locks and syncs are the server's word; use a disk of this machine`)];
  }
  if (SHARED_BY_HOST.test(name)) {
    return [warning(`${name} is a directory of the host: locks and syncs may not reach its disk`)];
  }
  if (name === "fuse" || name.startsWith("fuse.")) {
    return [warning(`${name}: a program decides what a sync does; few of them do what disks do`)];
  }
  if (NO_JOURNAL.test(name)) {
    return [warning(`${name} has no journal: a power cut can damage it as a whole`)];
  }
  if (PROVEN.test(name)) return [];
  return [
    note(`nothing is known here of the file system ${name === "" ? "of this machine" : name}`),
  ];
}

function judgeOptions({ fileSystem, options, zfsSync }: Volume): readonly Finding[] {
  const found: Finding[] = [];
  const barrier = options.find((option) => /^(?:nobarrier|barrier=0|barrier=none)$/u.test(option));
  if (barrier !== undefined) {
    found.push(warning(`mounted with ${barrier}: syncs do not empty the disk's own cache`));
  }
  if (options.includes("data=writeback") && /^ext[34]$/u.test(fileSystem)) {
    const what = "files that were not synced may hold anything after a power cut";
    found.push(warning(`mounted with data=writeback: ${what}; the queue syncs what it promises`));
  }
  if (zfsSync === "disabled") found.push(warning("sync=disabled: ZFS ignores every sync"));
  return found;
}

function judgeSpeed({ fileSystem, device }: Volume, { small }: SyncSpeed): readonly Finding[] {
  const took = `${small.p50 < 0.01 ? "less than 0.01" : small.p50.toFixed(2)} ms`;
  if (small.p50 < NOTHING_DONE_MS && !isPersistentMemory(device)) {
    if (MEMORY.has(fileSystem)) return [];
    return [warning(`a sync takes ${took}: no disk is that fast, so syncs do nothing (sure)`)];
  }
  if (device === undefined)
    return [note("the disk below cannot be seen from here: unsure of syncs")];
  if (device.virtual) {
    const host = "whether a sync reaches a real disk is up to the host: ask whoever runs it";
    return [note(`${device.name} is a virtual disk and a sync takes ${took}: ${host} (unsure)`)];
  }
  return [judgeDisk(device, small.p50, took)];
}

function judgeDisk(device: BlockDevice, p50: number, took: string): Finding {
  const { name, rotational, writeCache } = device;
  if (rotational === true && p50 < ROTATION_MS) {
    const why = "a cache with a battery answers, or one that ignores syncs";
    return warning(`${name} turns, yet a sync takes ${took}: ${why} (sure that it is one of them)`);
  }
  if (writeCache === "write back" && p50 < FLUSH_MS) {
    const why = "unless capacitors protect that cache, syncs are ignored";
    return warning(`${name} has a cache to empty, yet a sync takes ${took}: ${why} (unsure)`);
  }
  if (writeCache === "write through") {
    return note(
      `${name} says that it has no cache that forgets, so none is emptied (if it is true)`,
    );
  }
  return note(`a sync takes ${took} on ${name}: as long as one that is done (likely)`);
}

function isPersistentMemory(device: BlockDevice | undefined): boolean {
  return device?.name.startsWith("pmem") === true;
}

function warning(text: string): Finding {
  return { level: "warning", text };
}

function note(text: string): Finding {
  return { level: "note", text };
}
