import { watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Config } from "../config/config.ts";
import type { Clock } from "../lib/world.ts";
import type { TlsMaterial } from "./edges.ts";

/** Whoever renews a certificate writes two files: this long after the last change both are there. */
const SETTLE_MS = 500;

/** Reads certificate and key; `undefined` when none is configured. Rejects when they cannot be read. */
export async function readTls({ smtp }: Config): Promise<TlsMaterial | undefined> {
  const { certFile, keyFile } = smtp.tls;
  if (certFile === null || keyFile === null) return undefined;
  const [cert, key] = await Promise.all([readFile(certFile, "utf8"), readFile(keyFile, "utf8")]);
  return { cert, key };
}

/**
 * Calls `changed` after the certificate's files have changed. The directories are watched, since renewal replaces the files and
 * orchestrators even the directories behind links. Returns how to stop.
 */
export function watchTls({ smtp }: Config, clock: Clock, changed: () => void): () => void {
  const { certFile, keyFile } = smtp.tls;
  if (certFile === null || keyFile === null) return () => undefined;
  let cancel: (() => void) | undefined;
  const onChange = (): void => {
    cancel?.();
    cancel = clock.after(SETTLE_MS, changed);
  };
  const directories = new Set([dirname(certFile), dirname(keyFile)]);
  const watchers = [...directories].map((path) => watch(path, { persistent: false }, onChange));
  for (const watcher of watchers) watcher.on("error", () => undefined);
  return () => {
    cancel?.();
    for (const watcher of watchers) watcher.close();
  };
}
