/**
 * A program that sends its mail through a queue of its own: `bun tests/examples/embedded-queue.ts DIRECTORY`.
 *
 * A python-slimta program reads nearly the same: a storage, a relay, a queue over both, policies, a backoff, a bounce factory.
 */
import {
  addDateHeader,
  addMessageIdHeader,
  type BounceFactory,
  buildNotification,
  type Event,
  exponentialBackoff,
  newEnvelope,
  openCustomRelay,
  openDiskStorage,
  openQueue,
  type Policy,
  QueueError,
  recipientDomainSplit,
  reply,
  withField,
} from "slimta-queue";

const DAY_MS = 86_400_000;

/** A policy of one's own: mail that leaves the shop says so, and none is sent to oneself. */
const stamp: Policy = (envelope) => {
  if (envelope.recipients.some(({ address }) => address === envelope.sender)) {
    throw new QueueError("mail to oneself", {
      reply: reply(550, "5.7.1", "Talk to somebody else"),
    });
  }
  return [{ ...envelope, content: withField(envelope.content, "X-Sent-By: the shop") }];
};

/** A bounce factory of one's own: the stock notification, in the name of the shop. */
const bounce: BounceFactory = (notice) => {
  const notification = buildNotification(notice);
  if (notification === null) return null;
  return { ...notification, content: withField(notification.content, "X-Shop: returned") };
};

/** A relay of one's own: whatever carries mail. `openSmarthostRelay("smtp://mail.example.org:587")` is the usual one. */
function openDoves(carried: string[]) {
  return openCustomRelay(async ({ envelope, attempts }) => {
    // Each recipient gets its own answer: 2xx is there, 4xx is tried again, 5xx comes back to the sender.
    return envelope.recipients.map(({ address }) => {
      if (address.startsWith("nobody@")) return reply(550, "5.1.1", "No such dovecote");
      if (address.startsWith("far@") && attempts === 0) return reply(451, "4.4.1", "Bad weather");
      carried.push(address);
      return reply(250, "2.0.0", "Coo");
    });
  });
}

/** What came of it. */
export interface Story {
  /** Whom the doves have found, in this order. */
  readonly carried: readonly string[];
  /** What the queue told of: the kind of each event. */
  readonly told: readonly Event["kind"][];
  readonly refused: string;
  /** What was left when the program ended. */
  readonly size: number;
}

/** Opens everything inside-out, sends some mail, waits until it is gone, and closes everything outside-in. */
export async function sendSomeMail(directory: string): Promise<Story> {
  const carried: string[] = [];
  const told: Event["kind"][] = [];
  const isEmpty = Promise.withResolvers<void>();
  let left = 0;
  const onEvent = (event: Event): void => {
    told.push(event.kind);
    if (event.kind === "accepted") left += 1;
    if (event.kind === "removed") left -= 1;
    if (event.kind === "removed" && left === 0) isEmpty.resolve();
  };

  const storage = await openDiskStorage({ directory, freeBytesMin: 0, freePercentMin: 0, onEvent });
  const relay = openDoves(carried);
  const queue = openQueue({
    storage,
    relay,
    hostname: "shop.example",
    policies: [addDateHeader, addMessageIdHeader, recipientDomainSplit],
    backoff: exponentialBackoff({
      ...{ firstMs: 100, factor: 5, maxMs: 60_000, retriesMax: 5 },
      ...{ jitter: 0.1, lifetimeMs: DAY_MS },
    }),
    bounceFactory: bounce,
    onEvent,
  });
  queue.addPolicy(stamp);
  queue.start();

  // Resolves when the mail is safe; whether and when it arrives, events tell.
  await queue.enqueue(
    newEnvelope({
      sender: "orders@shop.example",
      recipients: ["ann@one.example", "nobody@one.example", "far@two.example"],
      message: "Subject: Your order\n\nIt is on its way.\n",
    }),
  );
  const refused = await queue
    .enqueue(
      newEnvelope({ sender: "me@shop.example", recipients: ["me@shop.example"], message: "\n" }),
    )
    .then(
      () => "",
      (error: QueueError) => error.message,
    );

  await isEmpty.promise;
  await queue.drain(AbortSignal.timeout(5000));
  await relay.close();
  const { size } = await storage.getInfo();
  await storage.close();
  return { carried, told, refused, size };
}

if (import.meta.main) console.log(await sendSomeMail(process.argv[2] ?? "/tmp/shop-queue"));
