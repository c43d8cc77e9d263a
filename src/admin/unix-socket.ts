import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";

/** Only the user who runs the queue may connect. */
const SOCKET_MODE = 0o600;

/** Makes way for a socket at `path`: a stale one is removed. Throws when somebody answers there or it is no socket. */
export async function clearSocketPath(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const existing = await lstat(path).catch(absent);
  if (existing === undefined) return;
  if (!existing.isSocket()) throw new Error(`${path} exists and is not a socket`);
  if (await answers(path)) throw new Error(`another process answers on ${path}`);
  await rm(path, { force: true });
}

/** Runs `listen`, which makes the socket, such that nobody else can connect at any instant. */
export async function withPrivateSocket<T>(path: string, listen: () => T): Promise<T> {
  const before = process.umask(0o077);
  let server: T;
  try {
    server = listen();
  } finally {
    process.umask(before);
  }
  await chmod(path, SOCKET_MODE);
  return server;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
