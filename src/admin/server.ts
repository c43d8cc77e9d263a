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
  /** How long a TCP connection may be silent while it owes a request or takes no answer. At most 255. */
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

/**
 * Unix sockets are used by our own user only, and `timeout` has no effect on their requests: no limit at all. Bun takes
 * the option there, its types do not know it.
 */
const PATIENT: object = { idleTimeout: 0 };

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
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= closeAll(servers, options);
    return closing;
  };
  try {
    for (const address of options.listen) {
      servers.push(await listen(address, options, app));
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
  { idleTimeoutSeconds }: AdminServerOptions,
  app: AdminHandler,
): Promise<Server> {
  const common = {
    maxRequestBodySize: BODY_BYTES_MAX,
    development: false,
    error: () => problemResponse({ status: 500, detail: "Something went wrong here." }),
  };
  if ("unix" in address) {
    const { unix } = address;
    await clearSocketPath(unix);
    const fetch = (request: Request) => app.fetch(request, { peer: "unix" });
    return withPrivateSocket(unix, () => Bun.serve({ ...common, unix, fetch, ...PATIENT }));
  }
  return Bun.serve({
    ...common,
    hostname: address.host,
    port: address.port,
    // Unless told, Bun shares the port with whoever has it already, another daemon for instance.
    reusePort: false,
    idleTimeout: idleTimeoutSeconds,
    fetch(request, server) {
      // What an operator started may take its time: a million messages are not removed in a minute.
      if (request.method === "POST") server.timeout(request, 0);
      return app.fetch(request, { peer: server.requestIP(request)?.address ?? "unknown" });
    },
  });
}

async function closeAll(
  servers: readonly Server[],
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
}
