import type { Daemon } from "../../tests/support/binary.ts";
import { passes } from "./world.ts";

const EVERY_MS = 3000;
/** Where mail would pile up for the whole run: an operator throws it away now and then. */
const HOPELESS = ["hang", "silent", "drip", "down"];

/** What operators did, by name, and what went wrong with it. */
export interface Operations {
  readonly done: ReadonlyMap<string, number>;
  readonly failed: ReadonlyMap<string, number>;
  readonly ended: Promise<void>;
}

interface Listed {
  readonly messages: readonly { readonly id: string; readonly domain: string }[];
}

type Operation = (daemon: Daemon, dice: number) => Promise<unknown>;

/** What operators do, in turn. Messages come and go meanwhile: one that is gone or busy (404, 409) is nothing special. */
const OPERATIONS: Readonly<Record<string, Operation>> = {
  overview: (daemon) => daemon.adminJson("/"),
  metrics: async (daemon) => await (await daemon.admin("/metrics")).text(),
  list: (daemon) => list(daemon, "limit=100&recipients=true"),
  show: async (daemon, dice) => await onOne(daemon, dice, "GET", ""),
  content: async (daemon, dice) => await onOne(daemon, dice, "GET", "/content"),
  hold: async (daemon, dice) => await onOne(daemon, dice, "POST", "/hold"),
  release: (daemon) => post(daemon, "/v1/messages/release?state=hold"),
  retry: async (daemon, dice) => await onOne(daemon, dice, "POST", "/retry"),
  bounce: async (daemon, dice) => await onOne(daemon, dice, "POST", "/bounce"),
  flush: (daemon) => post(daemon, "/v1/flush?domain=d1.moody.test"),
  remove: async (daemon, dice) => {
    const host = HOPELESS[Math.floor(dice * HOPELESS.length)];
    for (const number of [1, 2, 3]) {
      await post(daemon, `/v1/messages/remove?domain=d${number}.${host}.test`);
    }
  },
};

/** Does one thing after another until told to stop. */
export function startOperator(
  daemon: Daemon,
  random: () => number,
  until: AbortSignal,
): Operations {
  const done = new Map<string, number>();
  const failed = new Map<string, number>();
  const count = (counts: Map<string, number>, name: string) =>
    counts.set(name, (counts.get(name) ?? 0) + 1);
  const work = async () => {
    for (;;) {
      for (const [name, operate] of Object.entries(OPERATIONS)) {
        if (await passes(EVERY_MS, until)) return;
        try {
          await operate(daemon, random());
          count(done, name);
        } catch (error) {
          count(failed, `${name}: ${error instanceof Error ? error.message : error}`.slice(0, 100));
        }
      }
    }
  };
  return { done, failed, ended: work() };
}

async function list(daemon: Daemon, query: string): Promise<Listed> {
  return (await daemon.adminJson(`/v1/messages?${query}`)) as Listed;
}

async function onOne(daemon: Daemon, dice: number, method: string, path: string): Promise<void> {
  const { messages } = await list(daemon, "state=deferred&limit=200");
  const one = messages[Math.floor(dice * messages.length)];
  if (one === undefined) return;
  const response = await daemon.admin(`/v1/messages/${one.id}${path}`, { method });
  await response.arrayBuffer();
  if (!(response.ok || [404, 409].includes(response.status))) {
    throw new Error(`${method} ${path}: ${response.status}`);
  }
}

async function post(daemon: Daemon, path: string): Promise<void> {
  await daemon.adminJson(path, { method: "POST" });
}
