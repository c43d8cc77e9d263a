import { closeSync, fdatasyncSync, openSync, statfsSync, writeSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { BINARY } from "../../tests/support/binary.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import { median } from "./statistics.ts";

/** What the figures depend on, by name. */
export async function machineFacts(parent: string): Promise<Readonly<Record<string, string>>> {
  const [processor] = cpus();
  return {
    machine: `${cpus().length} x ${processor?.model.trim()}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    kernel: `Linux ${release()}`,
    spool: `${fileSystem(parent)}, 16 KiB write and sync ${(await syncMs(parent)).toFixed(2)} ms`,
    "slimta-queue": textOf([BINARY, "version"]),
    Postfix: textOf(["/usr/sbin/postconf", "-d", "-h", "mail_version"]),
    Bun: Bun.version,
  };
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

async function syncMs(parent: string): Promise<number> {
  await using dir = tempDir("sync", parent);
  const file = openSync(dir.join("file"), "w");
  const block = new Uint8Array(16 * 1024);
  const times = Array.from({ length: 200 }, () => {
    const startedAt = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    return performance.now() - startedAt;
  });
  closeSync(file);
  return median(times);
}

function textOf(command: readonly string[]): string {
  try {
    const { stdout } = Bun.spawnSync([...command]);
    return stdout.toString().trim().split("\n")[0] ?? "?";
  } catch {
    return "missing";
  }
}
