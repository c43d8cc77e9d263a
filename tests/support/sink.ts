import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type Child, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
import { tempDir } from "./temp-dir.ts";
import { accepts, until } from "./until.ts";

/** Postfix's smtp-sink: a next hop that stores nothing, or misbehaves as its options tell. */
export interface Sink extends Child {
  readonly port: number;
  /** Messages it has taken so far (it counts at the final dot). */
  count(): number;
  /** Resolves once it has taken that many messages. */
  received(messages: number, timeoutMs?: number): Promise<void>;
}

export interface SinkOptions {
  /** Listen here instead of on any free port. */
  readonly port?: number;
  /** Accepted connections waiting to be served. */
  readonly backlog?: number;
}

const BACKLOG = 1024;

/** Starts smtp-sink with these options (`-f`, `-r`, `-q` and the like) and waits until it accepts connections. */
export async function startSink(
  args: readonly string[] = [],
  options: SinkOptions = {},
): Promise<Sink> {
  const port = options.port ?? (await freePort());
  const backlog = String(options.backlog ?? BACKLOG);
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const dir = tempDir("sink");
  const counters = dir.join("counters");
  const child = startChild(
    ["/usr/sbin/smtp-sink", "-c", ...user, ...args, `127.0.0.1:${port}`, backlog],
    { outputFile: counters },
  );
  await until("smtp-sink", () => accepts(port));
  const count = () => lastCount(counters);
  return {
    ...child,
    port,
    count,
    async received(messages, timeoutMs = 30_000) {
      await until(`${messages} messages at smtp-sink`, () => count() >= messages, timeoutMs);
    },
    async [Symbol.asyncDispose]() {
      await child[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** smtp-sink writes "sess=1 quit=1 mesg=1" and a bare CR after each message; the last one written counts. */
function lastCount(path: string): number {
  const file = openSync(path, "r");
  try {
    const tail = Buffer.alloc(200);
    const from = Math.max(0, fstatSync(file).size - tail.length);
    const text = tail.toString("latin1", 0, readSync(file, tail, 0, tail.length, from));
    const at = text.lastIndexOf("mesg=", text.lastIndexOf("\r"));
    return at < 0 ? 0 : Number.parseInt(text.slice(at + 5), 10);
  } finally {
    closeSync(file);
  }
}
