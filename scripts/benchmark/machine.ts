import { closeSync, fdatasyncSync, openSync, statfsSync, writeSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { BINARY } from "../../tests/support/binary.ts";
import { type TempDir, tempDir } from "../../tests/support/temp-dir.ts";
import { median } from "./statistics.ts";

/** What the figures depend on, by name. */
export async function machineFacts(parent: string): Promise<Readonly<Record<string, string>>> {
  const [processor] = cpus();
  return {
    machine: `${cpus().length} x ${processor?.model.trim()}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    kernel: `Linux ${release()}`,
    spool: `${fileSystem(parent)}; ${await diskCosts(parent)}`,
    "slimta-queue": textOf([BINARY, "version"]),
    Postfix: textOf(["/usr/sbin/postconf", "-d", "-h", "mail_version"]),
    Bun: Bun.version,
  };
}

/**
 * A directory for the spools of all runs. On ext4 its subdirectories are spread over the disk (chattr +T), each to a place
 * of its own: a run shall not pay for the files of another one.
 */
export function spoolsDir(parent: string): TempDir {
  const dir = tempDir("bench", parent);
  if (fileSystem(parent) === "ext4") Bun.spawnSync(["chattr", "+T", dir.path]);
  return dir;
}

/** The kind of file system that a directory lies on. */
export function fileSystem(path: string): string {
  const names: Readonly<Record<number, string>> = {
    61267: "ext4",
    16914836: "tmpfs",
    1481003842: "xfs",
    2435016766: "btrfs",
    2035054128: "overlay",
  };
  const { type } = statfsSync(path);
  return names[type] ?? `file system 0x${type.toString(16)}`;
}

/** What the disk takes for the two things that accepting mail durably is made of. */
async function diskCosts(parent: string): Promise<string> {
  await using dir = tempDir("costs", parent);
  const created = medianMs(200, (index) => closeSync(openSync(dir.join(`${index}`), "w")));
  const file = openSync(dir.join("synced"), "w");
  const block = new Uint8Array(16 * 1024);
  const synced = medianMs(200, () => {
    writeSync(file, block);
    fdatasyncSync(file);
  });
  closeSync(file);
  return `creating a file ${created.toFixed(3)} ms, writing and syncing 16 KiB ${synced.toFixed(2)} ms`;
}

function medianMs(times: number, run: (index: number) => void): number {
  const each = Array.from({ length: times }, (_, index) => {
    const startedAt = performance.now();
    run(index);
    return performance.now() - startedAt;
  });
  return median(each);
}

function textOf(command: readonly string[]): string {
  try {
    const { stdout } = Bun.spawnSync([...command]);
    return stdout.toString().trim().split("\n")[0] ?? "?";
  } catch {
    return "missing";
  }
}
