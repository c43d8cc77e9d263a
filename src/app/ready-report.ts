import type { ReadyReport } from "../admin/ready.ts";
import type { Config } from "../config/config.ts";
import { realFiles } from "../storage/disk/files.ts";
import type { QueueStorage } from "../storage/storage.ts";

/** What the daemon is about, as far as clients of SMTP notice. */
export type Phase = "starting" | "serving" | "draining";

const SMTP: Readonly<Record<Phase, string>> = {
  starting: "not listening yet",
  serving: "ok",
  draining: "stopping: no new mail is taken",
};

const OK = "ok";
const MIB = 1024 * 1024;

/**
 * Everything that must be well for mail to be accepted durably (P1): asked anew each time, with a real write. A node without
 * an edge that serves has no check `smtp`.
 */
export async function readyReport(
  config: Config,
  storage: QueueStorage,
  phase: Phase,
): Promise<ReadyReport> {
  const [spool, space] = await Promise.all([spoolCheck(storage), spaceCheck(config)]);
  const { smtp } = config;
  const isRelayOnly = smtp.listen.length + smtp.tls.listen.length === 0;
  const edge = isRelayOnly && phase === "serving" ? {} : { smtp: SMTP[phase] };
  const checks = { spool, ...(space && { space }), ...edge };
  const ready = Object.values(checks).every((check) => check === OK);
  return { status: ready ? "ready" : "not-ready", checks };
}

/** The write may fail by itself, with a reason for those who look after the disk. */
async function spoolCheck(storage: QueueStorage): Promise<string> {
  try {
    await storage.probe();
    return OK;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A store that is not a directory here looks after its space itself. */
async function spaceCheck({ spool }: Config): Promise<string | undefined> {
  if (spool.url !== null) return undefined;
  try {
    const { freeBytes, totalBytes } = await realFiles.freeSpace(spool.dir);
    const needed = Math.max(spool.freeMin, spool.freeMinPercent * totalBytes);
    if (freeBytes >= needed) return OK;
    return `${inMib(freeBytes)} free, and ${inMib(needed)} are asked for by spool.free_min and spool.free_min_percent`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function inMib(bytes: number): string {
  return `${Math.floor(bytes / MIB)} MiB`;
}
