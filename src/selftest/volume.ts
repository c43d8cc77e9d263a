import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";

/** What is known of the place that a directory is on. */
export interface Volume {
  /** As the kernel calls it: `ext4`, `overlay`, `nfs4`; empty when it cannot be told. */
  readonly fileSystem: string;
  /** What is mounted: a device, a server's export, a dataset. */
  readonly source: string;
  /** Options of the mount and of the file system. */
  readonly options: readonly string[];
  /** The disk below, where the kernel tells. */
  readonly device?: BlockDevice;
  /** What ZFS does at a sync, where it tells: `standard`, `always`, `disabled`. */
  readonly zfsSync?: string;
}

/** A disk, as the kernel describes it. */
export interface BlockDevice {
  readonly name: string;
  /** `write back`: it has a cache that forgets, and is told to empty it at each sync. `write through`: it says it has none. */
  readonly writeCache?: string;
  readonly rotational?: boolean;
  /** Whether the host of a virtual machine stands for it. */
  readonly virtual: boolean;
}

/** Where the facts come from, so that tests can tell their own. */
export interface VolumeSources {
  /** A file's text; `undefined` when it cannot be read. */
  readonly read: (path: string) => string | undefined;
  /** Where a link leads; `undefined` when nowhere. */
  readonly resolve: (path: string) => string | undefined;
  /** `major:minor` of a device file. */
  readonly deviceNumber: (path: string) => string | undefined;
  /** The property `sync` of a dataset. */
  readonly zfsSync: (dataset: string) => string | undefined;
}

const ZFS_TIMEOUT_MS = 2000;
const VIRTUAL_NAME = /^(?:vd|xvd|nbd|rbd)/u;
const VIRTUAL_MODEL = /qemu|virtual|vmware|google|amazon elastic|msft/iu;

/** This machine. */
export const realSources: VolumeSources = {
  read: (path) => attempt(() => readFileSync(path, "utf8")),
  resolve: (path) => attempt(() => realpathSync(path)),
  deviceNumber: (path) =>
    attempt(() => {
      const { rdev } = statSync(path);
      return `${Math.floor(rdev / 256) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
    }),
  zfsSync(dataset) {
    const zfs = Bun.which("zfs");
    if (zfs === null || !existsSync(zfs)) return undefined;
    const command = [zfs, "get", "-H", "-o", "value", "sync", dataset];
    const { exitCode, stdout } = Bun.spawnSync(command, {
      stderr: "ignore",
      timeout: ZFS_TIMEOUT_MS,
    });
    return exitCode === 0 ? stdout.toString().trim() : undefined;
  },
};

/** Finds out what a directory is on. Where the machine tells nothing (no Linux), little is known, and nothing fails. */
export function readVolume(path: string, sources: VolumeSources): Volume {
  const mount = mountOf(sources.read("/proc/self/mountinfo") ?? "", path);
  if (mount === undefined) return { fileSystem: "", source: "", options: [] };
  const { fileSystem, source, options } = mount;
  const device = deviceOf(mount, sources);
  const zfsSync = fileSystem === "zfs" ? sources.zfsSync(source) : undefined;
  return {
    fileSystem,
    source,
    options,
    ...(device === undefined ? {} : { device }),
    ...(zfsSync === undefined ? {} : { zfsSync }),
  };
}

interface Mount {
  readonly point: string;
  readonly number: string;
  readonly fileSystem: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** The mount that a path is on (proc(5), mountinfo): the deepest one, and of two at one place the later. */
function mountOf(text: string, path: string): Mount | undefined {
  const mounts = text.split("\n").flatMap((line) => readMount(line));
  const depth = ({ point }: Mount) => (point === "/" ? 0 : point.length);
  return mounts
    .filter(({ point }) => point === "/" || path === point || path.startsWith(`${point}/`))
    .reduce<Mount | undefined>((best, mount) => {
      return best !== undefined && depth(best) > depth(mount) ? best : mount;
    }, undefined);
}

function readMount(line: string): readonly Mount[] {
  const [before = "", after] = line.split(" - ");
  if (after === undefined) return [];
  const [, , number = "", , point = "", own = ""] = before.split(" ");
  const [fileSystem = "", source = "", ofSystem = ""] = after.split(" ");
  const options = [...new Set([...own.split(","), ...ofSystem.split(",")])];
  return [{ point: unescaped(point), number, fileSystem, source: unescaped(source), options }];
}

/** Blanks and the like are octal there. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/gu, (_, digits: string) => {
    return String.fromCharCode(Number.parseInt(digits, 8));
  });
}

function deviceOf({ number, source }: Mount, sources: VolumeSources): BlockDevice | undefined {
  // Some file systems (btrfs) have numbers of their own, which name no device.
  const real = number.startsWith("0:") ? undefined : number;
  const found = real ?? (source.startsWith("/dev/") ? sources.deviceNumber(source) : undefined);
  const own = found === undefined ? undefined : sources.resolve(`/sys/dev/block/${found}`);
  if (own === undefined) return undefined;
  // A partition has no queue; its disk is the directory above.
  const hasQueue = sources.read(`${own}/queue/rotational`) !== undefined;
  const disk = hasQueue ? own : own.slice(0, own.lastIndexOf("/"));
  const fact = (name: string) => sources.read(`${disk}/${name}`)?.trim();
  const name = disk.slice(disk.lastIndexOf("/") + 1);
  const [writeCache, rotational] = [fact("queue/write_cache"), fact("queue/rotational")];
  const model = `${fact("device/vendor") ?? ""} ${fact("device/model") ?? ""}`;
  return {
    name,
    virtual: VIRTUAL_NAME.test(name) || VIRTUAL_MODEL.test(model),
    ...(writeCache === undefined ? {} : { writeCache }),
    ...(rotational === undefined ? {} : { rotational: rotational === "1" }),
  };
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
