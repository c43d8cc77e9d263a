import { residentMb } from "../benchmark/processes.ts";
import { openCrowd, slowSenders } from "./crowds.ts";
import type { Finding } from "./report.ts";
import { passes } from "./world.ts";

/** Something that happens now and then besides the mixed load. */
export interface Phase {
  readonly name: string;
  /** When it begins within each quarter of the run, as a share of the quarter. */
  readonly at: number;
  run(target: Target): Promise<Finding>;
}

export interface Target {
  readonly port: number;
  readonly pid: number;
  /** Ends the run. */
  readonly until: AbortSignal;
}

export const IDLE_CLIENTS = 500;
export const SLOW_CLIENTS = 200;
/** How many connections the server takes at once, and from one client that it does not trust. */
export const CONNECTIONS_MAX = 800;
export const PER_CLIENT_MAX = 50;
/** How long the server lets its clients be silent. */
export const SILENCE_MS = 45_000;
/** Loopback addresses: the load's, which is trusted, and a stranger's. */
export const TRUSTED = "127.0.0.1";
export const STRANGER = "127.0.0.9";

/** An idle connection may cost this much: its socket, its session and its timers. */
export const IDLE_KB_MAX = 64;

const DRIBBLE_MS = 5000;
const DRIBBLES = 6;
const FLOOD = 1200;
const FLOOD_MS = 5000;

/** All of them, in the order in which they come. */
export const PHASES: readonly Phase[] = [
  { name: "idle", at: 0.15, run: idle },
  { name: "slow", at: 0.45, run: slow },
  { name: "flood", at: 0.7, run: flood },
];

/** Clients that say nothing: they cost little, and are sent away when their time is over. */
async function idle({ port, pid, until }: Target): Promise<Finding> {
  const before = residentMb(pid);
  await using crowd = await openCrowd(port, IDLE_CLIENTS);
  await passes(DRIBBLE_MS, until);
  const kb = ((residentMb(pid) - before) * 1000) / crowd.members.length;
  const codes = until.aborted ? [] : await crowd.sentAway(2 * SILENCE_MS);
  const sentAway = codes.filter((code) => code === 421).length;
  return {
    name: "idle connections",
    text: `${crowd.members.length} open, ${kb.toFixed(1)} kB each, ${sentAway} sent away with 421`,
    isGood:
      crowd.members.length === IDLE_CLIENTS &&
      kb <= IDLE_KB_MAX &&
      (until.aborted || sentAway === IDLE_CLIENTS),
  };
}

/** Clients that send an octet now and then are served to the end. */
async function slow({ port, until }: Target): Promise<Finding> {
  await using senders = await slowSenders(port, SLOW_CLIENTS, "slow@d1.take.test");
  for (let octets = 0; octets < DRIBBLES; octets += 1) {
    if (await passes(DRIBBLE_MS, until)) break;
    senders.dribble();
  }
  const taken = await senders.finish();
  return {
    name: "slow senders",
    text: `${senders.started} began, ${taken} were served to the end`,
    isGood: senders.started === SLOW_CLIENTS && taken === SLOW_CLIENTS,
  };
}

/** More connections than the server takes, of one stranger and of all clients together. */
async function flood({ port, until }: Target): Promise<Finding> {
  await using stranger = await openCrowd(port, 4 * PER_CLIENT_MAX, STRANGER);
  await using all = await openCrowd(port, FLOOD, TRUSTED);
  await passes(FLOOD_MS, until);
  const strangers = `${stranger.members.length} of ${4 * PER_CLIENT_MAX} from one stranger`;
  return {
    name: "floods",
    text: `${strangers} and ${all.members.length} of ${FLOOD} more were let in, ${stranger.refused + all.refused} got a 421, ${stranger.broken + all.broken} were cut off`,
    isGood:
      stranger.members.length === PER_CLIENT_MAX &&
      all.members.length <= CONNECTIONS_MAX - PER_CLIENT_MAX &&
      stranger.broken + all.broken === 0,
  };
}
