import { idMaker } from "../lib/id.ts";
import type { World } from "../lib/world.ts";
import type { Envelope } from "../mail/envelope.ts";
import type { Emit } from "../observe/events.ts";
import type { Policy } from "../policy/policy.ts";
import type { Relay } from "../relay/relay.ts";
import type { QueueStorage } from "../storage/storage.ts";
import type { Lifetimes } from "./attempt.ts";
import type { QueueControl } from "./control.ts";
import { frontOf, requireRecipients, store, storeAndOffer, tellAccepted } from "./front.ts";
import type { NoticeOptions } from "./notices.ts";
import { operatorControl } from "./operator.ts";
import { Runner, type RunnerOptions } from "./runner.ts";
import { faultless, settler } from "./settle.ts";

export interface QueueOptions extends RunnerOptions {
  readonly hostname: string;
  readonly policies: readonly Policy[];
  readonly lifetimes: Lifetimes;
  readonly notices: NoticeOptions;
  /** What this node is called among those that share a queue. */
  readonly node?: string;
}

export interface QueueParts {
  readonly storage: QueueStorage;
  /** Without one the queue keeps mail and never attempts it. */
  readonly relay?: Relay;
  readonly world: World;
  readonly emit: Emit;
  /** The parent's `bounce_queue`: where notifications go; this queue itself without it. */
  readonly bounceQueue?: Pick<Queue, "enqueue">;
}

/** The parent's `Queue`: accepts, keeps, relays, retries and bounces. */
export interface Queue {
  /**
   * Runs the policies and stores what they make, all or nothing (P2); resolves with the ids when it is durable (P1).
   * Never waits for relay capacity. Rejects with `QueueError` when nothing was stored. A caller that gives the id may
   * call again after a crash: what is stored already is not stored twice.
   */
  enqueue(envelope: Envelope, id?: string): Promise<readonly string[]>;
  /** Policies added later run later. The parent's `add_policy`. */
  addPolicy(policy: Policy): void;
  /** Starts delivering. Without it, or without a relay, mail is accepted and kept. */
  start(): void;
  /** Tries everything that waits now; returns how many messages that are. Constant time. The parent's `flush`. */
  flush(): Promise<number>;
  /**
   * Starts nothing more and resolves when what runs is settled; `abort` breaks off what still runs (P10). The parent's
   * `kill`, which did neither. The storage stays open.
   */
  drain(abort: AbortSignal): Promise<void>;
  /** What operators may see and do. */
  readonly control: QueueControl;
}

export function openQueue(options: QueueOptions, parts: QueueParts): Queue {
  const { storage, relay, world, emit } = parts;
  const newId = idMaker(world.clock.now, world.random);
  // Nodes may have one name; leases must not be mistaken for those of a process before.
  const holder = options.node === undefined ? newId() : `${options.node}/${newId()}`;
  const policies = [...options.policies];
  const front = frontOf(options.hostname, policies, world);

  const settle = settler({
    storage,
    clock: world.clock,
    emit,
    front,
    bounceQueue: parts.bounceQueue,
    noteDue: (at, domain) => runner?.noteDue(at, domain),
  });
  const notices = { ...options.notices, factory: faultless(options.notices.factory, emit) };
  const common = { lifetimes: options.lifetimes, notices, storage, world, emit };
  const runner =
    relay &&
    new Runner(
      {
        ...common,
        relay,
        holder,
        settle: (message, change, made) => settle(message, change, made, { holder }),
      },
      options,
    );
  const control = operatorControl({
    ...common,
    relay,
    runner,
    settle: (message, change, made) => settle(message, change, made, {}),
  });

  return {
    async enqueue(envelope, givenId) {
      requireRecipients(envelope);
      const first = givenId ?? newId();
      const made = front(envelope, first, givenId === undefined ? newId : () => first);
      const tell = (): void => tellAccepted(made, world.clock.now() - envelope.receivedAt, emit);
      // An id that was given may be stored and under way already: it is not for this call to lease it.
      const fresh = givenId === undefined;
      const to = { storage, runner, holder, now: world.clock.now(), fresh };
      if (fresh) await storeAndOffer(made, to, tell);
      else await store(made, to, tell);
      return made.map(({ id }) => id);
    },
    addPolicy: (policy) => void policies.push(policy),
    start: () => runner?.start(),
    flush: () => control.flush(),
    drain: async (abort) => await runner?.drain(abort),
    control,
  };
}
