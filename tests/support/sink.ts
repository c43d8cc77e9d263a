import { type Child, startChild } from "./child.ts";
import { freePort } from "./free-port.ts";
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
  // -c prints counters, ended by a bare CR, after each message: only the last of them is worth keeping.
  const child = startChild(
    ["/usr/sbin/smtp-sink", "-c", ...user, ...args, `127.0.0.1:${port}`, backlog],
    { outputCharsMax: 8192 },
  );
  await until("smtp-sink", () => accepts(port));
  const count = () => {
    const counters = child.output();
    const at = counters.lastIndexOf("mesg=", counters.lastIndexOf("\r"));
    return at < 0 ? 0 : Number.parseInt(counters.slice(at + 5), 10);
  };
  return {
    ...child,
    port,
    count,
    async received(messages, timeoutMs = 30_000) {
      await until(`${messages} messages at smtp-sink`, () => count() >= messages, timeoutMs);
    },
  };
}
