import { rm } from "node:fs/promises";
import type { Clock } from "../lib/world.ts";
import type { AdminEnv } from "./guard.ts";
import { problemResponse } from "./problem.ts";
import { clearSocketPath, withPrivateSocket } from "./unix-socket.ts";

export type AdminAddress =
  | { readonly host: string; readonly port: number }
  | { readonly unix: string };

export interface AdminServerOptions {
  /** Port 0 takes a free one. */
  readonly listen: readonly AdminAddress[];
  /** How long a connection may be silent while it owes a request or takes no answer. At most 255. */
  readonly idleTimeoutSeconds: number;
  /** How long `close` waits for answers that are under way. */
  readonly closeGraceMs: number;
  readonly clock: Clock;
}

/** Defaults for the options above. */
export const ADMIN_IDLE_TIMEOUT_SECONDS = 30;
export const ADMIN_CLOSE_GRACE_MS = 2000;

/** Nothing here takes a body; this only bounds what is read before that is said. */
const BODY_BYTES_MAX = 1024;

export interface AdminServer {
  /** Where it listens, in the order of the options, with the ports that were taken. */
  readonly addresses: readonly AdminAddress[];
  /** Stops listening, lets answers finish for a while, removes sockets from the file system. Idempotent. */
  close(): Promise<void>;
}

/** Whoever answers: the routes, told who asks. */
export interface AdminHandler {
  fetch(request: Request, env: AdminEnv): Response | Promise<Response>;
}

type Server = Bun.Server<undefined>;

/**
 * Serves on all addresses or on none. A unix socket is for its owner only; a stale one is replaced, one that answers is
 * an error, as is a port that is taken.
 */
export async function openAdmin(
  options: AdminServerOptions,
  app: AdminHandler,
): Promise<AdminServer> {
  const servers: Server[] = [];
  const sockets: string[] = [];
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= closeAll(servers, sockets, options);
    return closing;
  };
  try {
    for (const address of options.listen) {
      servers.push(await listen(address, options, app));
      if ("unix" in address) sockets.push(address.unix);
    }
  } catch (cause) {
    await close();
    throw cause;
  }
  const addresses = options.listen.map((address, index) =>
    "unix" in address ? address : { host: address.host, port: servers[index]?.port ?? 0 },
  );
  return { addresses, close };
}

async function listen(
  address: AdminAddress,
  options: AdminServerOptions,
  app: AdminHandler,
): Promise<Server> {
  const common = {
    maxRequestBodySize: BODY_BYTES_MAX,
    development: false,
    error: () => problemResponse({ status: 500, detail: "Something went wrong here." }),
  };
  if ("unix" in address) {
    await clearSocketPath(address.unix);
    const fetch = (request: Request) => app.fetch(request, { peer: "unix" });
    return withPrivateSocket(address.unix, () =>
      Bun.serve({ ...common, unix: address.unix, fetch }),
    );
  }
  return Bun.serve({
    ...common,
    hostname: address.host,
    port: address.port,
    idleTimeout: options.idleTimeoutSeconds,
    fetch(request, server) {
      // What an operator started may take its time: a million messages are not removed in a minute.
      if (request.method === "POST") server.timeout(request, 0);
      const peer = server.requestIP(request)?.address;
      return app.fetch(request, { peer: peer ?? "unknown" });
    },
  });
}

async function closeAll(
  servers: readonly Server[],
  sockets: readonly string[],
  { clock, closeGraceMs }: AdminServerOptions,
): Promise<void> {
  const stopped = Promise.all(servers.map((server) => server.stop()));
  let cancel: () => void = () => undefined;
  const late = new Promise<void>((resolve) => {
    cancel = clock.after(closeGraceMs, resolve);
  });
  await Promise.race([stopped, late]);
  cancel();
  await Promise.all(servers.map((server) => server.stop(true)));
  await Promise.all(sockets.map((path) => rm(path, { force: true })));
}
