import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { atExit } from "./at-exit.ts";
import { type TempDir, tempDir } from "./temp-dir.ts";

/** A small file system of our own, to be filled; unmounted when it is disposed. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** A place on it for a spool. */
  readonly spool: string;
  /** Takes all the space that is left but for so much. */
  fill(leaveBytes?: number): void;
  /** Gives it back. */
  free(): void;
}

/** `tmpfs` is in memory; `ext4` lies in a file, and finds out late that it is full, as real disks do. */
export type DiskKind = "tmpfs" | "ext4";

const mounted = new Set<string>();
// Before directories are removed, of which these are part.
atExit("programs", () => {
  for (const path of mounted) unmount(path);
});

/** Makes a small disk below a directory. */
export function smallDisk(dir: TempDir, sizeMib: number, kind: DiskKind = "tmpfs"): SmallDisk {
  const path = dir.join("disk");
  mkdirSync(path);
  if (kind === "tmpfs") mount(path, "-t", "tmpfs", "-o", `size=${sizeMib}m`, "tmpfs");
  else mount(path, "-o", "loop", ext4Image(dir.join("disk.ext4"), sizeMib));
  return {
    path,
    spool: join(path, "spool"),
    fill(leaveBytes = 0) {
      const { bavail, bsize } = statfsSync(path);
      // Others may write meanwhile: then it is full too.
      run("dd", [
        ...["if=/dev/zero", `of=${join(path, "filler")}`, `bs=${bsize}`],
        `count=${Math.max(0, bavail - Math.ceil(leaveBytes / bsize))}`,
        ...(kind === "ext4" ? ["conv=fsync"] : []),
      ]);
    },
    free: () => rmSync(join(path, "filler"), { force: true }),
    async [Symbol.asyncDispose]() {
      unmount(path);
    },
  };
}

/** Nothing can be written below a directory until it is ended. */
export function readOnly(path: string) {
  mount(path, "-t", "tmpfs", "-o", "ro,size=256m", "tmpfs");
  const end = async () => unmount(path);
  return { end, [Symbol.asyncDispose]: end };
}

/** Why no disk of our own can be had here; `undefined` when it can. */
export function whyNoDisk(kind: DiskKind = "tmpfs"): string | undefined {
  if (process.getuid?.() !== 0) return "only root may mount a small disk";
  const dir = tempDir("mount");
  try {
    unmount(join(smallDisk(dir, 8, kind).spool, ".."));
    return undefined;
  } catch (error) {
    return `no small disk can be mounted: ${error}`;
  }
}

function ext4Image(path: string, sizeMib: number): string {
  run("truncate", ["-s", `${sizeMib}M`, path]);
  // No blocks are kept back for root: full is full.
  run("mkfs.ext4", ["-q", "-m", "0", path]);
  return path;
}

function mount(path: string, ...args: readonly string[]): void {
  const { status, stderr } = run("mount", [...args, path]);
  if (status !== 0) throw new Error(`mount failed: ${stderr}`);
  mounted.add(path);
}

function unmount(path: string): void {
  mounted.delete(path);
  run("umount", ["-l", path]);
}

function run(program: string, args: readonly string[]) {
  return spawnSync(program, [...args], { encoding: "utf8" });
}
