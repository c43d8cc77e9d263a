import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Child, type ChildOptions, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { until } from "./until.ts";

/** Where the repository is. */
export const ROOT: string = join(import.meta.dir, "..", "..");

/** Where scripts/build leaves the executable; SLIMTA_QUEUE_BINARY names another one to test. */
export const BINARY: string = Bun.env.SLIMTA_QUEUE_BINARY ?? join(ROOT, "slimta-queue");

/** How the product is run: the executable when it is at least as new as the sources, else from the sources. */
export function productCommand(): readonly string[] {
  if (Bun.env.SLIMTA_QUEUE_BINARY !== undefined || isFresh()) return [BINARY];
  return [process.execPath, join(ROOT, "src/main.ts")];
}

/** The compiled executable; throws when there is none or it is older than the sources. For tests of kill -9, size, start. */
export function binaryCommand(): readonly string[] {
  const reason = whyNoBinary();
  if (reason !== undefined) throw new Error(reason);
  return [BINARY];
}

/** Why there is no executable to test; `undefined` when there is one. */
export function whyNoBinary(): string | undefined {
  if (Bun.env.SLIMTA_QUEUE_BINARY !== undefined || isFresh()) return undefined;
  return "./slimta-queue is missing or older than the sources: run scripts/build";
}

function isFresh(): boolean {
  if (!existsSync(BINARY)) return false;
  const builtAt = statSync(BINARY).mtimeMs;
  const sources = [...new Bun.Glob("src/**/*").scanSync({ cwd: ROOT, onlyFiles: true })];
  return sources.every((path) => statSync(join(ROOT, path)).mtimeMs <= builtAt);
}

/** A running daemon. */
export interface Daemon extends Child {
  readonly smtpPort: number;
  readonly adminPort: number;
  readonly adminUrl: string;
  /** GET, or another method, on the admin server. */
  admin(path: string, init?: RequestInit): Promise<Response>;
  /** The answer's JSON; throws when the status is not 2xx. */
  adminJson(path: string, init?: RequestInit): Promise<unknown>;
}

export interface DaemonOptions extends ChildOptions {
  readonly spool: string;
  /** More flags of `serve`, for instance `--relay`. */
  readonly args?: readonly string[];
  /** Fixed ports, for a daemon that is started again at the same place. */
  readonly smtpPort?: number;
  readonly adminPort?: number;
  /** It accepts no mail: a node that only relays what others accept. */
  readonly relayOnly?: true;
  readonly command?: readonly string[];
  readonly readyTimeoutMs?: number;
  /** What `/readyz` says once it is up, for a daemon that cannot accept mail; 200 by default. */
  readonly readyStatus?: number;
  /** What is asked; `/livez` for one that is up and cannot accept mail, or can. */
  readonly readyPath?: "/readyz" | "/livez";
}

/** Runs one command of the product to its end. */
export async function runProduct(args: readonly string[], options: ChildOptions = {}) {
  const child = startChild([...productCommand(), ...args], options);
  const code = await child.exited;
  return { code, output: child.output() };
}

/** Starts `serve` on free ports of 127.0.0.1 and waits until `/readyz` answers 200 (or `readyStatus`). Rejects with its output if it ends. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const smtpPort = options.smtpPort ?? (await freePort());
  const adminPort = options.adminPort ?? (await freePort());
  const command = options.command ?? productCommand();
  const smtp = options.relayOnly ? "none" : `127.0.0.1:${smtpPort}`;
  const addresses = ["--smtp", smtp, "--admin", `127.0.0.1:${adminPort}`];
  const child = startChild(
    [...command, "serve", ...addresses, "--spool", options.spool, ...(options.args ?? [])],
    options,
  );
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  const admin = (path: string, init?: RequestInit) => fetch(`${adminUrl}${path}`, init);
  await ready(child, admin, options);
  return {
    ...child,
    smtpPort,
    adminPort,
    adminUrl,
    admin,
    async adminJson(path, init) {
      const headers = { accept: "application/json", ...(init?.headers as Record<string, string>) };
      const response = await admin(path, { ...init, headers });
      const text = await response.text();
      if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
      return JSON.parse(text);
    },
  };
}

async function ready(
  child: Child,
  admin: (path: string) => Promise<Response>,
  { readyTimeoutMs = 20_000, readyStatus = 200, readyPath = "/readyz" }: DaemonOptions,
): Promise<void> {
  let exit: number | undefined;
  void child.exited.then((code) => {
    exit = code;
  });
  const isReady = async () => {
    if (exit !== undefined) throw new Error(`serve ended with ${exit}:\n${child.output()}`);
    try {
      const response = await admin(readyPath);
      await response.body?.cancel();
      return response.status === readyStatus;
    } catch {
      return false;
    }
  };
  try {
    await until("serve is ready", isReady, readyTimeoutMs);
  } catch (cause) {
    await child.stop();
    throw new Error(`serve did not get ready:\n${child.output()}`, { cause });
  }
}
