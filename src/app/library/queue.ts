import type { BounceFactory } from "../../bounce/notice.ts";
import { keepAlive } from "../../lib/world.ts";
import type { Policy } from "../../policy/policy.ts";
import { openQueue as openBareQueue, type Queue } from "../../queue/queue.ts";
import type { Relay } from "../../relay/relay.ts";
import type { Backoff } from "../../schedule/backoff.ts";
import type { ThrottleOptions } from "../../schedule/throttle.ts";
import type { QueueStorage } from "../../storage/storage.ts";
import { queueOptions } from "../queue-options.ts";
import { type Embedding, stockConfig, surroundings } from "./stock.ts";

/** What a queue is made of. Only the storage must be said; the rest is as in the executable (`config explain`). */
export interface QueueOptions extends Embedding {
  /** Where mail is kept. It is the caller's to close, after `drain`. */
  readonly storage: QueueStorage;
  /** Where mail goes. Without one it is kept and never attempted: other processes on the same store may do that. */
  readonly relay?: Relay;
  /** This host's name, in `Received`, in message ids and in notifications; what the system says without it. */
  readonly hostname?: string;
  /**
   * What is done to a message before it is stored, in this order. By default: refused after 50 `Received` fields; `Date`,
   * `Message-ID` and `Received` added; one envelope for each domain of recipients.
   */
  readonly policies?: readonly Policy[];
  /** When to try again; by default after 1, 5, 15 and 30 minutes, 1, 2 and then every 4 hours, within the lifetime. */
  readonly backoff?: Backoff;
  /** Milliseconds since reception after which a message is given up; 5 days. */
  readonly lifetimeMs?: number;
  /** The same for mail with the null sender, which is that of notifications; as `backoff`, within its own lifetime. */
  readonly bounceBackoff?: Backoff;
  /** Milliseconds after which a notification is given up; 1 day. */
  readonly bounceLifetimeMs?: number;
  /** Makes notifications, the parent's `bounce_factory`; `buildNotification` without it. */
  readonly bounceFactory?: BounceFactory;
  /** Another queue for notifications, the parent's `bounce_queue`; this one without it. */
  readonly bounceQueue?: Pick<Queue, "enqueue">;
  /** The address that notifications name for questions; `postmaster` at this host. */
  readonly postmaster?: string;
  /** A failed message of at most so many octets goes back whole, of others the header; 50 KiB. */
  readonly returnBytesMax?: number;
  /** Milliseconds after which a sender is told, once, that a message still waits; 4 hours, `null` for never. */
  readonly delayNoticeMs?: number | null;
  /** Deliveries at once; 200. */
  readonly deliveriesMax?: number;
  /** Due messages that are in memory; the others wait in the storage. 10,000. */
  readonly waitingMax?: number;
  /**
   * The share of those that one destination may have; 1000. Where nodes share the storage, at most five times what each may
   * have under way there: what is in the memory of one no other can deliver.
   */
  readonly waitingPerDestinationMax?: number;
  /** Milliseconds after which an attempt is ended; 1 hour. */
  readonly attemptMaxMs?: number;
  /**
   * How many deliveries at once one destination is trusted with, and when it is left alone; 5 at first, at most 20, of all
   * nodes together where the storage has `places`.
   */
  readonly throttle?: Partial<ThrottleOptions>;
  /** What this node is called among those that share the storage. */
  readonly node?: string;
  /** Milliseconds without a sign of life after which other nodes take over what this one has; 5 minutes. */
  readonly leaseMs?: number;
}

/**
 * Makes a queue over an open storage and an open relay, the parent's `Queue(store, relay, ...)`. It accepts at once and
 * delivers from `start()` on, and keeps the process alive from there to the end of `drain`. Close in this order:
 * `queue.drain`, `relay.close`, `storage.close`.
 */
export function openQueue(given: QueueOptions): Queue {
  const { storage, relay, bounceQueue, throttle, hostname, ...options } = given;
  const { policies, deliveriesMax, waitingMax, waitingPerDestinationMax, ...rest } = options;
  const stock = stockOptions(given);
  const bare = {
    ...stock,
    ...defined({ policies, deliveriesMax, waitingMax, waitingPerDestinationMax }),
    ...defined({ attemptMaxMs: rest.attemptMaxMs, leaseMs: rest.leaseMs, node: rest.node }),
    lifetimes: {
      ...stock.lifetimes,
      ...defined({ backoff: rest.backoff, bounceBackoff: rest.bounceBackoff }),
    },
    notices: {
      ...stock.notices,
      ...defined({
        factory: rest.bounceFactory,
        postmaster: rest.postmaster,
        returnBytesMax: rest.returnBytesMax,
        delayNoticeMs: rest.delayNoticeMs,
      }),
    },
    throttle: { ...stock.throttle, ...throttle },
  };
  const around = { ...surroundings(given), ...defined({ relay, bounceQueue }) };
  return keepingAlive(openBareQueue(bare, { storage, ...around }));
}

/** The timers of a queue keep no process alive, and a program may have nothing else that does. */
function keepingAlive(queue: Queue): Queue {
  let letGo = (): void => undefined;
  return {
    ...queue,
    start() {
      letGo();
      letGo = keepAlive();
      queue.start();
    },
    async drain(abort) {
      await queue.drain(abort).finally(letGo);
    },
  };
}

/** What the executable would be told by its configuration, with these lifetimes in it. */
function stockOptions({ hostname, lifetimeMs, bounceLifetimeMs }: QueueOptions) {
  const config = stockConfig({}, hostname);
  const { queue } = config;
  const lifetime = lifetimeMs ?? queue.lifetime;
  const bounceLifetime = bounceLifetimeMs ?? queue.bounceLifetime;
  return queueOptions({ ...config, queue: { ...queue, lifetime, bounceLifetime } });
}

/** Without the options that were not given. */
function defined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
