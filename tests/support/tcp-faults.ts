import { createServer, connect as openSocket, type Server, type Socket } from "node:net";

/** Where a conversation breaks off: before the server has a request, or with its answer made and nobody told. */
export type BreakPoint = "request" | "answer";

/** A place between clients and a server that speaks TCP, where the network fails as told. */
export interface TcpFaults extends AsyncDisposable {
  readonly port: number;
  /**
   * Ends every connection when the piece of this number, counted from now on and from 1, arrives from clients or from the
   * server; nobody gets that piece. New connections work at once.
   */
  breakAt(point: BreakPoint, number: number): void;
  /** Whether that has happened. */
  hasBroken(): boolean;
  /** Nothing breaks any more. */
  heal(): void;
  /** From now on pieces stay where they are and connections open all the same, as with a network that swallows them. */
  freeze(): void;
  /** What was held up goes on its way, to those who still wait for it. */
  thaw(): void;
  /** Resolves when nothing has passed for so long: nobody is about to connect, or still at it. */
  quiet(ms: number): Promise<void>;
  /** Ends every connection now. */
  hangUp(): void;
}

interface Plan {
  readonly point: BreakPoint;
  left: number;
}

/** Listens on a port of its own, in front of this one. */
export async function tcpFaults(serverPort: number): Promise<TcpFaults> {
  const sockets = new Set<Socket>();
  let plan: Plan | undefined;
  let broken = false;
  let passedAt = 0;
  let thawed: PromiseWithResolvers<void> | undefined;

  const hangUp = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  /** Whether the piece may go on its way. */
  const passes = (point: BreakPoint): boolean => {
    if (plan?.point !== point) return true;
    plan.left -= 1;
    if (plan.left > 0) return true;
    plan = undefined;
    broken = true;
    hangUp();
    return false;
  };
  const pipe = (from: Socket, to: Socket, point: BreakPoint): void => {
    sockets.add(from);
    from.on("data", async (piece) => {
      from.pause();
      passedAt = performance.now();
      await thawed?.promise;
      if (!to.destroyed && passes(point) && !to.write(piece)) await drained(to);
      from.resume();
    });
    from.on("error", () => to.destroy());
    from.on("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  };
  const server = createServer((client) => {
    const upstream = openSocket({ port: serverPort, host: "127.0.0.1" });
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    pipe(client, upstream, "request");
    pipe(upstream, client, "answer");
  });
  return {
    port: await listening(server),
    breakAt(point, number) {
      plan = { point, left: number };
      broken = false;
    },
    hasBroken: () => broken,
    heal() {
      plan = undefined;
    },
    freeze() {
      thawed ??= Promise.withResolvers<void>();
    },
    thaw() {
      thawed?.resolve();
      thawed = undefined;
    },
    async quiet(ms) {
      for (;;) {
        const left = passedAt + ms - performance.now();
        if (left <= 0) return;
        await Bun.sleep(left);
      }
    },
    hangUp,
    async [Symbol.asyncDispose]() {
      thawed?.resolve();
      hangUp();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("drain", resolve);
    socket.once("close", resolve);
  });
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0 }, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
}
