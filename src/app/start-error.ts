import { exit } from "../lib/sysexits.ts";
import { QueueError } from "../mail/queue-error.ts";
import { LockedError } from "../storage/disk/lock.ts";
import { StoreConfigError } from "../storage/store-config-error.ts";
import { StoreUnavailableError } from "../storage/store-unavailable-error.ts";

/** Runs what opens a listener; what goes wrong says which. */
export async function listeningOn<T>(what: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (cause) {
    throw new Error(`cannot listen on ${what}`, { cause });
  }
}

/** Why the daemon could not start, for whoever started it. */
export function startError(error: unknown): string {
  return `cannot start: ${reasonsOf(error)}`;
}

/** What went wrong, and because of what. */
export function reasonsOf(error: unknown): string {
  const reasons = [...causes(error)].map((cause) => cause.message);
  return reasons.length === 0 ? String(error) : reasons.join(": ");
}

const CODES: Readonly<Record<string, number>> = {
  EACCES: exit.noPermission,
  EPERM: exit.noPermission,
  EADDRINUSE: exit.unavailable,
  ECONNREFUSED: exit.unavailable,
  ECONNRESET: exit.unavailable,
  EHOSTUNREACH: exit.unavailable,
  ENETUNREACH: exit.unavailable,
  ENOTFOUND: exit.unavailable,
  ETIMEDOUT: exit.unavailable,
  EADDRNOTAVAIL: exit.config,
  ENOENT: exit.config,
  EROFS: exit.cannotCreate,
  EIO: exit.ioError,
  ENOSPC: exit.ioError,
  SQLITE_FULL: exit.ioError,
};

/** What the process ends with after such an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof LockedError) return exit.temporary;
  if (error instanceof StoreConfigError) return exit.config;
  if (error instanceof StoreUnavailableError) return exit.unavailable;
  for (const cause of causes(error)) {
    const code = "code" in cause ? String(cause.code) : "";
    if (code.startsWith("SQLITE_IOERR")) return exit.ioError;
    if (CODES[code] !== undefined) return CODES[code];
  }
  return error instanceof QueueError ? exit.cannotCreate : exit.software;
}

function* causes(error: unknown): Generator<Error> {
  for (let cause = error; cause instanceof Error; cause = cause.cause) yield cause;
}
