import { buildNotification } from "../../src/bounce/notification.ts";
import { bytesContent } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import type { QueueControl } from "../../src/queue/control.ts";
import {
  openQueue,
  type Queue,
  type QueueOptions,
  type QueueParts,
} from "../../src/queue/queue.ts";
import { stepsBackoff } from "../../src/schedule/backoff.ts";
import { FakeStorage } from "../support/fake-storage.ts";
import { type FaultyStorage, faultyStorage } from "../support/faulty-storage.ts";
import { openRecorder, type Recorder } from "../support/recorder.ts";
import {
  byDomain,
  type Script,
  type ScriptedRelay,
  scriptedRelay,
} from "../support/scripted-relay.ts";
import { SIM_START, type SimWorld, simWorld } from "../support/sim-world.ts";

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
/** What the product waits between attempts, without jitter. */
export const STEPS = [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR];
export const LIFETIME = 5 * DAY;
export const BOUNCE_LIFETIME = DAY;

export const OPTIONS: QueueOptions = {
  hostname: "queue.test",
  policies: [],
  lifetimes: {
    backoff: stepsBackoff({ stepsMs: STEPS, jitter: 0, lifetimeMs: LIFETIME }),
    lifetimeMs: LIFETIME,
    bounceBackoff: stepsBackoff({ stepsMs: STEPS, jitter: 0, lifetimeMs: BOUNCE_LIFETIME }),
    bounceLifetimeMs: BOUNCE_LIFETIME,
  },
  notices: {
    factory: buildNotification,
    hostname: "queue.test",
    postmaster: "postmaster@queue.test",
    returnBytesMax: 50 * 1024,
    delayNoticeMs: 4 * HOUR,
  },
  deliveriesMax: 50,
  waitingMax: 200,
  waitingPerDestinationMax: 40,
  attemptMaxMs: HOUR,
  throttle: {
    limitStart: 5,
    limitMax: 20,
    cohort: 5,
    suspendFirstMs: 5 * SECOND,
    suspendMaxMs: 10 * MINUTE,
  },
};

export interface Setup {
  readonly script?: Script;
  readonly options?: Partial<QueueOptions>;
  /** What stands in place of the parts that are made otherwise. */
  readonly parts?: Partial<QueueParts>;
  readonly relay?: false;
  readonly start?: false;
}

export interface Fixture {
  readonly world: SimWorld;
  readonly kept: FakeStorage;
  readonly faulty: FaultyStorage;
  readonly relay: ScriptedRelay;
  readonly recorder: Recorder;
  readonly queue: Queue;
  readonly control: QueueControl;
  /** Sends one message, lets everything happen that follows at once, and resolves with its id. */
  send(to: readonly string[] | string, changes?: Partial<Envelope>): Promise<string>;
}

/** A queue in a simulated world over a storage that can be made to fail. */
export function setUp({ script, options, parts, relay: wantsRelay, start }: Setup = {}): Fixture {
  const world = simWorld();
  const kept = new FakeStorage(world.clock);
  const faulty = faultyStorage(kept);
  const relay = scriptedRelay(script);
  const recorder = openRecorder();
  const queue = openQueue(
    { ...OPTIONS, ...options },
    {
      storage: faulty.storage,
      world,
      emit: recorder.emit,
      ...(wantsRelay === false ? {} : { relay }),
      ...parts,
    },
  );
  if (start !== false) queue.start();
  return {
    world,
    kept,
    faulty,
    relay,
    recorder,
    queue,
    control: queue.control,
    async send(to, changes) {
      const envelope = mail(to, { receivedAt: world.clock.now(), ...changes });
      const [id = ""] = await queue.enqueue(envelope);
      await world.settle();
      return id;
    },
  };
}

/** A message to these recipients, from somebody who hears of bounces at `sender.test`. */
export function mail(to: readonly string[] | string, changes: Partial<Envelope> = {}): Envelope {
  const addresses = typeof to === "string" ? [to] : to;
  return {
    sender: "alice@sender.test",
    recipients: addresses.map((address, index) => ({ index, address })),
    content: bytesContent(new TextEncoder().encode("Subject: hello\r\n\r\nHow are you?\r\n")),
    client: { ip: "127.0.0.1", host: "localhost", name: "app.test", protocol: "ESMTP" },
    receiver: "queue.test",
    receivedAt: SIM_START,
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
    ...changes,
  };
}

/** Messages that are kept and are notifications. */
export function notifications({ kept }: Fixture): readonly Envelope[] {
  return [...kept.messages.values()]
    .map(({ envelope }) => envelope)
    .filter(({ sender, client }) => sender === "" && client.protocol === "LOCAL");
}

/** What a notification says, as text. */
export function textOf({ content }: Envelope): string {
  const { prefix, body } = content;
  const bytes = body.kind === "bytes" ? body.bytes : body.head;
  return new TextDecoder().decode(prefix) + new TextDecoder().decode(bytes);
}

/** A script in which `down.test` cannot be reached. */
export const DOWN = byDomain({ "down.test": "down" });

/** Sends mail that fails, until `down.test` is left alone for five seconds. */
export async function suspend({ send, recorder }: Fixture): Promise<void> {
  for (let count = 0; count < OPTIONS.throttle.cohort; count += 1) await send("x@down.test");
  if (recorder.all("destination").length === 0) throw new Error("not suspended");
}

/** The deliveries to one domain so far. */
export const callsTo = ({ relay }: Fixture, domain: string) =>
  relay.calls.filter(({ addresses }) => addresses[0]?.endsWith(`@${domain}`));
