import type { Config } from "../config/config.ts";
import { exit } from "../lib/sysexits.ts";
import { realWorld } from "../lib/world.ts";
import { QueueError } from "../mail/queue-error.ts";
import { type FsckOptions, type FsckReport, fsckSpool } from "../storage/disk/fsck.ts";
import { LockedError } from "../storage/disk/lock.ts";

/** Where `fsck` writes. */
export interface FsckIo {
  readonly stdout: { write(text: string): Promise<void> };
  readonly stderr: { write(text: string): Promise<void> };
}

/** Checks the spool and tells what it finds. Resolves with 0 when nothing is wrong any more, 65 when something is, 75 when a daemon uses the spool. */
export async function fsck(config: Config, options: FsckOptions, io: FsckIo): Promise<number> {
  let written = Promise.resolve();
  const say = (line: string): void => {
    written = written.then(() => io.stdout.write(`${line}\n`));
  };
  if (config.spool.url !== null) {
    await io.stderr.write("fsck is for a queue in a directory; name it by --spool\n");
    return exit.usage;
  }
  try {
    const report = await fsckSpool(config.spool.dir, options, { world: realWorld, report: say });
    say(summary(report));
    await written;
    return report.damage === 0 || report.repaired ? exit.ok : exit.data;
  } catch (error) {
    if (!(error instanceof QueueError)) throw error;
    await written;
    await io.stderr.write(`${error.message}\n`);
    return error instanceof LockedError ? exit.temporary : exit.data;
  }
}

function summary({ segments, messages, damage, leftovers, repaired }: FsckReport): string {
  const seen = `${messages} messages in ${segments} segments`;
  if (damage + leftovers === 0) return `${seen}: clean`;
  const found = `${damage} damaged, ${leftovers} left over`;
  return `${seen}: ${found}${repaired ? ", repaired" : ""}`;
}
