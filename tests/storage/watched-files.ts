import { realFiles, type SpoolFiles } from "../../src/storage/disk/files.ts";

/** One file operation as it is about to be done. */
export interface FileOperation {
  readonly name: keyof SpoolFiles;
  /** What it is done to, with everything before the spool's own directories cut off. */
  readonly path: string;
  readonly to?: string;
}

const ASYNC = new Set<keyof SpoolFiles>([
  "appendSlowly",
  "readAt",
  "syncData",
  "syncDirectory",
  "unlink",
  "freeSpace",
]);

/** The real file system behind somebody who sees every operation before it is done, and may throw instead. */
export function watchedFiles(before: (operation: FileOperation) => void): SpoolFiles {
  const paths = new Map<number, string>();
  const short = (target: unknown) =>
    (typeof target === "number" ? (paths.get(target) ?? "?") : String(target)).replace(
      /^.*\/spool\//u,
      "",
    );
  const watch = (name: keyof SpoolFiles) => {
    const real = realFiles[name] as (...given: unknown[]) => unknown;
    return (...given: unknown[]) => {
      const to = name === "rename" || name === "link" ? { to: short(given[1]) } : {};
      try {
        before({ name, path: short(given[0]), ...to });
      } catch (error) {
        if (ASYNC.has(name)) return Promise.reject(error);
        throw error;
      }
      const result = real(...given);
      if (typeof result === "number" && typeof given[0] === "string") paths.set(result, given[0]);
      return result;
    };
  };
  const names = Object.keys(realFiles) as (keyof SpoolFiles)[];
  return Object.fromEntries(names.map((name) => [name, watch(name)])) as unknown as SpoolFiles;
}

/** An error as the system makes it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: as the system says it`), { code });
}

/** Files that fail with a code wherever `when` says so, until it is told to stop. */
export function failingFiles() {
  let when: ((operation: FileOperation) => boolean) | undefined;
  let code = "EIO";
  const seen: FileOperation[] = [];
  const files = watchedFiles((operation) => {
    seen.push(operation);
    if (when?.(operation)) throw systemError(code);
  });
  return {
    files,
    seen,
    fail(given: string, on: (operation: FileOperation) => boolean) {
      code = given;
      when = on;
    },
    recover() {
      when = undefined;
    },
  };
}
