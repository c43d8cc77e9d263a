import { type LedgerReceiver, ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { QUICK } from "../e2e/help.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import type { Excuse } from "./node-ledger.ts";

/** The shortest that the configuration takes. */
export const LEASE_MS = 5000;
/** An answer so young when its node dies may not have been recorded in the store. */
export const WINDOW_MS = 1000;
/** Deliveries are broken off so long after TERM. */
const GRACE_MS = 1500;
const STOP_MS_MAX = GRACE_MS + 10_000;
/** So long does the next hop think about each message: some are under way whenever a node dies. */
const DOT_DELAY_MS = 15;

/** One node after another at one place: an edge and a relay, with a next hop of its own. */
export interface NodeLives extends AsyncDisposable {
  readonly hop: LedgerReceiver;
  /** Where it takes mail; `undefined` while it is away or stands still. */
  readonly port: () => number | undefined;
  readonly daemon: () => Daemon;
  readonly excuses: readonly Excuse[];
  start(): Promise<void>;
  kill(): Promise<void>;
  /** TERM; throws unless it ends with 0. */
  stop(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** Node number `node` on this store; nothing runs yet. */
export async function openNodeLives(
  node: number,
  spool: string,
  command: readonly string[],
): Promise<NodeLives> {
  const hop = await ledgerReceiver({ dotDelayMs: DOT_DELAY_MS });
  const excuses: Excuse[] = [];
  let daemon: Daemon | undefined;
  let frozenSince: number | undefined;
  const running = (): Daemon => {
    if (daemon === undefined) throw new Error(`node ${node} does not run`);
    return daemon;
  };
  const taken = (): Daemon => {
    const found = running();
    daemon = undefined;
    return found;
  };
  const excuse = (from: number): void =>
    void excuses.push({ node, from: from - WINDOW_MS, to: Date.now() });
  return {
    hop,
    excuses,
    port: () => (frozenSince === undefined ? daemon?.smtpPort : undefined),
    daemon: running,
    async start() {
      daemon = await startDaemon({
        command,
        spool,
        args: [
          ...["--relay", `smtp://127.0.0.1:${hop.port}`, ...QUICK],
          ...["--set", `queue.lease=${LEASE_MS}ms`, "--set", `shutdown.grace=${GRACE_MS}ms`],
          ...["--hostname", `node${node}.example.test`],
        ],
        readyPath: "/livez",
        outputCharsMax: 100_000,
      });
    },
    async kill() {
      const killed = taken();
      const from = Date.now();
      killed.kill("SIGKILL");
      await killed.exited;
      excuse(from);
    },
    async stop() {
      const stopped = taken();
      const since = Date.now();
      const code = await stopped.stop(STOP_MS_MAX);
      if (code !== 0) throw new Error(`TERM ended node ${node} with ${code}:\n${stopped.output()}`);
      // In time it breaks off nothing.
      if (Date.now() - since >= GRACE_MS) excuse(since + GRACE_MS);
    },
    freeze() {
      frozenSince = Date.now();
      running().kill("SIGSTOP");
    },
    thaw() {
      daemon?.kill("SIGCONT");
      // What it still does then it did before it learned that its leases are lost.
      if (frozenSince !== undefined)
        excuses.push({ node, from: frozenSince - WINDOW_MS, to: Date.now() + WINDOW_MS });
      frozenSince = undefined;
    },
    async [Symbol.asyncDispose]() {
      daemon?.kill("SIGCONT");
      daemon?.kill("SIGKILL");
      await daemon?.exited;
      await hop.down();
    },
  };
}
