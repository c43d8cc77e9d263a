import { chmodSync, mkdtempSync, realpathSync, rmSync, statfsSync, statSync } from "node:fs";
import { exit } from "../lib/sysexits.ts";

/** Room for the mail of the load, whatever the volume. */
const FREE_BYTES_MIN = 128 * 1024 * 1024;
const MIB = 1024 * 1024;

/** A directory cannot be used for a test; `code` is what the process ends with. */
export class Unusable extends Error {
  override readonly name = "Unusable";
  readonly code: number;

  constructor(text: string, options: { readonly code: number; readonly cause?: unknown }) {
    super(text, { cause: options.cause });
    this.code = options.code;
  }
}

/** Runs with a directory that nobody else looks into, and removes it. */
export async function inPrivate<T>(dir: string, run: (path: string) => Promise<T>): Promise<T> {
  const path = privateDirectory(dir);
  try {
    return await run(path);
  } finally {
    rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

function privateDirectory(dir: string): string {
  try {
    const path = mkdtempSync(`${dir}/selftest-`);
    chmodSync(path, 0o700);
    return path;
  } catch (cause) {
    const code = String((cause as NodeJS.ErrnoException).code);
    const why = WHY_NOT_WRITABLE[code];
    if (why === undefined) throw cause;
    throw new Unusable(`${dir}: ${why.text}`, { code: why.code, cause });
  }
}

const WHY_NOT_WRITABLE: Readonly<Record<string, { readonly code: number; readonly text: string }>> =
  {
    EACCES: { code: exit.noPermission, text: "no permission to write there" },
    EPERM: { code: exit.noPermission, text: "no permission to write there" },
    EROFS: { code: exit.cannotCreate, text: "mounted read-only" },
    ENOSPC: { code: exit.temporary, text: "no space left" },
    EDQUOT: { code: exit.temporary, text: "no space left of the quota" },
    EIO: { code: exit.ioError, text: "the disk fails (EIO)" },
  };

/** The directory's real path; throws `Unusable` when nothing can be tested there. */
export function usable(dir: string): string {
  const real = existing(dir);
  if (!statSync(real).isDirectory()) {
    throw new Unusable(`${dir} is no directory`, { code: exit.data });
  }
  const { bavail, bsize } = statfsSync(real);
  if (bavail * bsize >= FREE_BYTES_MIN) return real;
  const [free, needed] = [bavail * bsize, FREE_BYTES_MIN].map((bytes) => Math.floor(bytes / MIB));
  const text = `${dir}: ${free} MiB are free, and ${needed} MiB are needed`;
  throw new Unusable(text, { code: exit.temporary });
}

function existing(dir: string): string {
  try {
    return realpathSync(dir);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "EACCES") {
      throw new Unusable(`${dir}: no permission to look there`, { code: exit.noPermission, cause });
    }
    const hint = "name a directory on the volume to test: --spool DIR";
    throw new Unusable(`${dir} does not exist; ${hint}`, { code: exit.data, cause });
  }
}
