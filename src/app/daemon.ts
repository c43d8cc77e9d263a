import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { adminRoutes } from "../admin/routes.ts";
import {
  ADMIN_CLOSE_GRACE_MS,
  ADMIN_IDLE_TIMEOUT_SECONDS,
  type AdminAddress,
  type AdminServer,
  openAdmin,
} from "../admin/server.ts";
import type { Config } from "../config/config.ts";
import type { SmtpEdge } from "../edge/smtp.ts";
import type { World } from "../lib/world.ts";
import { type Emit, fanOut } from "../observe/events.ts";
import { openMetrics } from "../observe/metrics.ts";
import { type MetricsSample, sampleProcess } from "../observe/metrics-sample.ts";
import { openQueue, type Queue } from "../queue/queue.ts";
import type { Relay } from "../relay/relay.ts";
import { realFiles } from "../storage/disk/files.ts";
import type { QueueStorage } from "../storage/storage.ts";
import { frontDoor } from "./door.ts";
import { openEdges } from "./edges.ts";
import { hostPort, type Whereabouts } from "./introduction.ts";
import { openStorage } from "./open-storage.ts";
import { queueOptions } from "./queue-options.ts";
import { type Phase, readyReport } from "./ready-report.ts";
import { relayOf } from "./relays.ts";
import { listeningOn } from "./start-error.ts";
import { readTls, watchTls } from "./tls-files.ts";

export interface DaemonParts {
  readonly world: World;
  /** Where every event goes besides the metrics. */
  readonly log: Emit;
  readonly version: string;
  readonly startedAt: number;
}

export interface Daemon extends Whereabouts {
  /** Reads the certificate again. Never rejects: what cannot be used is told, and the old one stays. */
  reload(): Promise<void>;
  /**
   * P10: stops intake, finishes or at `abort` breaks off what runs, closes the storage last. Nothing that was accepted is lost.
   */
  stop(abort: AbortSignal): Promise<void>;
}

/** Opens everything inside-out, or nothing: what opened before something failed is closed again. */
export async function openDaemon(config: Config, parts: DaemonParts): Promise<Daemon> {
  const { world } = parts;
  const node = hostname();
  await using opening = new AsyncDisposableStack();
  let sample: () => Promise<MetricsSample> = () => Promise.reject(new Error("not started"));
  const metrics = openMetrics({
    now: world.clock.now,
    startedAt: parts.startedAt,
    build: { version: parts.version, node },
    sample: () => sample(),
  });
  const emit = fanOut([parts.log, metrics.observe]);
  const storage = await openStorage(config, { world, emit });
  opening.defer(() => storage.close());
  const relay = relayOf(config, world);
  opening.defer(async () => await relay?.close());
  const queue = openQueue(queueOptions(config, node), {
    storage,
    world,
    emit,
    ...(relay && { relay }),
  });
  const state: State = { phase: "starting" };
  sample = () => sampleOf(config, queue, storage, state, world.clock.now());

  const tls = await readTls(config);
  const edges = await openEdges(config, tls, frontDoor(queue, storage, emit), { emit, world });
  opening.defer(async () => void (await Promise.all(edges.map((edge) => edge.close()))));
  const routes = adminRoutes(queue.control, {
    metrics: () => metrics.render(),
    totals: () => metrics.totals(),
    ready: () => readyReport(config, storage, state.phase),
    version: parts.version,
    hostname: config.smtp.hostname,
    startedAt: parts.startedAt,
    token: config.admin.token ?? undefined,
    hosts: config.admin.hosts,
    clock: world.clock,
    emit,
  });
  const admin = await openAdminServer(config, routes, world, emit);
  opening.defer(() => admin.close());
  queue.start();
  opening.move();
  state.phase = "serving";
  return daemonOver({ config, emit, world, storage, relay, queue, edges, admin, state });
}

interface State {
  phase: Phase;
}

interface Opened {
  readonly config: Config;
  readonly emit: Emit;
  readonly world: World;
  readonly storage: QueueStorage;
  readonly relay: Relay | undefined;
  readonly queue: Queue;
  readonly edges: readonly SmtpEdge[];
  readonly admin: AdminServer;
  readonly state: State;
}

function daemonOver(opened: Opened): Daemon {
  const { config, emit, world, edges, admin } = opened;
  async function reload(): Promise<void> {
    try {
      const tls = await readTls(config);
      if (tls === undefined) return;
      for (const edge of edges) edge.reloadTls(tls);
      emit({ kind: "lifecycle", what: "reloaded", text: "certificate" });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      emit({ kind: "lifecycle", what: "error", text: `certificate not reloaded: ${reason}` });
    }
  }
  const unwatch = watchTls(config, world.clock, () => void reload());
  return {
    smtp: edges.map((edge) => edge.address),
    admin: admin.addresses,
    reload,
    async stop(abort) {
      unwatch();
      await stop(opened, abort);
    },
  };
}

/** The edge may still be storing what it has received while deliveries end: storage goes last. */
async function stop(opened: Opened, abort: AbortSignal): Promise<void> {
  const { config, edges, queue, relay, admin, storage, state } = opened;
  state.phase = "draining";
  const cutOff = (): void => void Promise.all(edges.map((edge) => edge.close()));
  if (abort.aborted) cutOff();
  abort.addEventListener("abort", cutOff, { once: true });
  await Promise.all([
    ...edges.map((edge) => edge.drain(config.shutdown.grace)),
    queue.drain(abort),
  ]);
  await relay?.close();
  await admin.close();
  await storage.close();
}

async function openAdminServer(
  config: Config,
  routes: Parameters<typeof openAdmin>[1],
  world: World,
  emit: Emit,
): Promise<AdminServer> {
  const { listen, socket } = config.admin;
  const addresses = listen.map((at): AdminAddress => (at.kind === "unix" ? { unix: at.path } : at));
  const options = {
    idleTimeoutSeconds: ADMIN_IDLE_TIMEOUT_SECONDS,
    closeGraceMs: ADMIN_CLOSE_GRACE_MS,
    clock: world.clock,
  };
  const open = (listen: readonly AdminAddress[]): Promise<AdminServer> => {
    const names = listen.map((at) => ("unix" in at ? at.unix : hostPort(at))).join(" and ");
    return listeningOn(`${names} for admin`, () => openAdmin({ ...options, listen }, routes));
  };
  if (socket === null) return await open(addresses);
  const withSocket = [...addresses, { unix: socket.path }];
  try {
    mkdirSync(dirname(socket.path), { recursive: true, mode: 0o700 });
    return await open(withSocket);
  } catch (error) {
    if (socket.required) throw error;
    const cause = error instanceof Error && error.cause ? error.cause : error;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const text = `no admin socket at ${socket.path}: ${reason}`;
    // A port that is taken fails again without the socket, and then says so.
    const server = await open(addresses);
    emit({ kind: "lifecycle", what: "warning", text });
    return server;
  }
}

async function sampleOf(
  config: Config,
  queue: Queue,
  storage: QueueStorage,
  state: State,
  now: number,
): Promise<MetricsSample> {
  const status = await queue.control.status();
  return {
    messages: status.states,
    bytes: status.bytes,
    oldestSeconds: status.oldestAt === null ? null : Math.max(0, (now - status.oldestAt) / 1000),
    corrupt: status.corrupt,
    ...(status.requests && { requests: status.requests }),
    delivering: status.delivering,
    waiting: status.waiting,
    connections: status.connections,
    suspendedDestinations: status.destinations.filter((each) => each.suspendedUntil !== null)
      .length,
    ready: state.phase === "serving" && storage.refusal() === undefined,
    ...(await diskSample(config)),
    process: sampleProcess(),
  };
}

/** Only of a spool that is on a disk here. */
async function diskSample({ spool }: Config) {
  if (spool.url !== null) return {};
  const { freeBytes, totalBytes } = await realFiles.freeSpace(spool.dir);
  return {
    diskFreeBytes: freeBytes,
    diskFreeRatio: totalBytes === 0 ? 1 : freeBytes / totalBytes,
  };
}
