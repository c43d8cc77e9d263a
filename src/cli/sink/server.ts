import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { HostPort } from "../../config/network.ts";
import { type Next, type SessionOptions, SinkSession } from "./session.ts";

/** A receiving SMTP server that is listening. */
export interface SinkServer extends AsyncDisposable {
  readonly address: HostPort;
  /** Stops taking connections and resolves when the open ones ended, or after `DRAIN_MS_MAX`. */
  drain(): Promise<void>;
}

/** How long clients may take to say goodbye. */
const DRAIN_MS_MAX = 500;

/** Connections at once; further ones wait with the system. */
const CONNECTIONS_MAX = 2000;

/** Listens. Rejects when it cannot. Disposing ends every connection. */
export async function openSinkServer(
  { host, port }: HostPort,
  options: SessionOptions,
): Promise<SinkServer> {
  const talks = new Map<Socket, Promise<void>>();
  const server = createServer({ noDelay: true }, (socket) => {
    // A connection that breaks ends by itself.
    socket.on("error", () => undefined);
    const talk = converse(socket, new SinkSession(options));
    talks.set(
      socket,
      talk.finally(() => talks.delete(socket)),
    );
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.listen({ host, port, backlog: 1024 });
  await once(server, "listening");
  const { address, port: bound } = server.address() as AddressInfo;
  return {
    address: { host: address, port: bound },
    drain: () => drain(server, talks),
    [Symbol.asyncDispose]: () => shut(server, talks),
  };
}

type Talks = ReadonlyMap<Socket, Promise<void>>;

async function drain(server: Server, talks: Talks): Promise<void> {
  const closed = once(server, "close");
  server.close();
  const late = AbortSignal.timeout(DRAIN_MS_MAX);
  await Promise.race([closed, once(late, "abort")]);
  await shut(server, talks);
}

async function shut(server: Server, talks: Talks): Promise<void> {
  if (server.listening) server.close();
  for (const socket of talks.keys()) socket.destroy();
  await Promise.all(talks.values());
}

/** Speaks with one client until either side ends it; one chunk at a time, so that memory stays bounded. */
async function converse(socket: Socket, session: SinkSession): Promise<void> {
  try {
    let next = session.greet();
    if (!(await proceed(socket, session, next))) return;
    for await (const chunk of socket) {
      if (next === "stall") continue;
      next = await session.take(chunk as Uint8Array);
      if (!(await proceed(socket, session, next))) return;
    }
    socket.end();
  } catch {
    // The client broke the connection; that is its right.
    socket.destroy();
  } finally {
    await session.close();
  }
}

/** Sends what is due and does what is next. False: this connection is over. */
async function proceed(socket: Socket, session: SinkSession, next: Next): Promise<boolean> {
  if (next === "drop") {
    socket.destroy();
    return false;
  }
  const replies = session.replies();
  if (next === "close") {
    socket.end(replies);
    return false;
  }
  if (replies !== "" && !socket.write(replies)) await drained(socket);
  return true;
}

async function drained(socket: Socket): Promise<void> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  socket.once("close", leave);
  try {
    await once(socket, "drain", { signal: gone.signal });
  } finally {
    socket.off("close", leave);
  }
}
