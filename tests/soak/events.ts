import type { Daemon } from "../support/binary.ts";
import { runProduct } from "../support/binary.ts";
import type { SmallDisk } from "../support/small-disk.ts";
import type { Hops } from "./hops.ts";
import type { Lives } from "./lives.ts";

/** What the events happen to. */
export interface Stage {
  readonly lives: Lives;
  readonly hops: Hops;
  /** Absent where none can be mounted: it is never full then. */
  readonly disk: SmallDisk | undefined;
  readonly random: () => number;
  /** Writes the history. */
  readonly note: (text: string) => void;
}

/** Something that happens, and its end after a while. */
interface Event {
  readonly name: string;
  /** How often, compared with the others. */
  readonly weight: number;
  /** Resolves when it has happened, to what ends it; not to be called again before that. */
  run(stage: Stage): Promise<(() => Promise<void> | void) | undefined>;
}

const HELD_MS_MIN = 200;
const HELD_MS_MAX = 2500;

const EVENTS: readonly Event[] = [
  {
    name: "kill -9",
    weight: 6,
    async run({ lives }) {
      await lives.kill();
      await lives.start();
      return undefined;
    },
  },
  {
    name: "TERM",
    weight: 2,
    async run({ lives, note }) {
      note(`stopped within ${await lives.stop()} ms`);
      await lives.start();
      return undefined;
    },
  },
  {
    name: "disk full",
    weight: 2,
    async run({ disk }) {
      disk?.fill();
      return () => disk?.free();
    },
  },
  {
    name: "disk nearly full",
    weight: 1,
    async run({ disk, random }) {
      disk?.fill(random() * 1024 * 1024);
      return () => disk?.free();
    },
  },
  {
    name: "next hop hangs",
    weight: 2,
    async run(stage) {
      const hop = anyHop(stage);
      hop.pause();
      return () => hop.resume();
    },
  },
  {
    name: "next hop dies",
    weight: 2,
    async run(stage) {
      const hop = anyHop(stage);
      await hop.down();
      return () => hop.up();
    },
  },
  {
    name: "flush",
    weight: 1,
    async run({ lives }) {
      await operate(lives.daemon(), "/v1/flush");
      return undefined;
    },
  },
  {
    name: "flush on the command line",
    weight: 1,
    async run({ lives, note }) {
      const { adminPort } = lives.daemon();
      const { code } = await runProduct(["queue", "flush", "--admin", `127.0.0.1:${adminPort}`]);
      if (code !== 0) note(`queue flush ended with ${code}`);
      return undefined;
    },
  },
  {
    name: "hold",
    weight: 1,
    async run({ lives }) {
      await operate(lives.daemon(), "/v1/messages/hold?all=true");
      return async () => {
        if (lives.isUp()) await operate(lives.daemon(), "/v1/messages/release?all=true");
      };
    },
  },
];

/** Lets things happen, several at once, until told to stop; then ends what goes on. Rejects when something failed that may not. */
export async function happenings(stage: Stage, until: AbortSignal): Promise<number> {
  const { random, note } = stage;
  const underWay = new Set<string>();
  const ends: { readonly name: string; readonly at: number; run(): Promise<void> | void }[] = [];
  let count = 0;
  while (!until.aborted) {
    const event = pick(random);
    if (!underWay.has(event.name)) {
      underWay.add(event.name);
      note(event.name);
      count += 1;
      const end = await event.run(stage);
      const at = Date.now() + HELD_MS_MIN + random() * (HELD_MS_MAX - HELD_MS_MIN);
      if (end === undefined) underWay.delete(event.name);
      else ends.push({ name: event.name, at, run: end });
    }
    await Bun.sleep(50 + random() * 500);
    for (const due of ends.filter(({ at }) => at <= Date.now())) {
      ends.splice(ends.indexOf(due), 1);
      underWay.delete(due.name);
      note(`end of: ${due.name}`);
      await due.run();
    }
  }
  for (const { run } of ends) await run();
  return count;
}

function pick(random: () => number): Event {
  let roll = random() * EVENTS.reduce((sum, { weight }) => sum + weight, 0);
  for (const event of EVENTS) {
    roll -= event.weight;
    if (roll < 0) return event;
  }
  return EVENTS[0]!;
}

function anyHop({ hops, random }: Stage) {
  return hops.all[Math.floor(random() * hops.all.length)]!;
}

/** A verb on the admin endpoint. On a full disk it may be refused, which is no failure. */
async function operate(daemon: Daemon, path: string): Promise<void> {
  const response = await daemon.admin(path, { method: "POST" });
  await response.body?.cancel();
}
