import { expect, test } from "bun:test";
import {
  addReceivedHeader,
  buildNotification,
  bytesContent,
  DiskStorage,
  type Emit,
  type Envelope,
  type Outcome,
  openDiskStorage,
  openQueue,
  type Queue,
  QueueError,
  type Relay,
  realWorld,
  reply,
  stepsBackoff,
} from "slimta-queue";
import { openRecorder } from "./support/recorder.ts";
import { tempDir } from "./support/temp-dir.ts";

const DAY_MS = 86_400_000;

function embed(storage: DiskStorage, relay: Relay, emit: Emit): Queue {
  const backoff = stepsBackoff({ stepsMs: [60_000], jitter: 0.1, lifetimeMs: DAY_MS });
  return openQueue(
    {
      hostname: "app.example",
      policies: [addReceivedHeader],
      lifetimes: {
        backoff,
        lifetimeMs: DAY_MS,
        bounceBackoff: backoff,
        bounceLifetimeMs: DAY_MS,
      },
      notices: {
        factory: buildNotification,
        hostname: "app.example",
        postmaster: "postmaster@app.example",
        returnBytesMax: 10_000,
        delayNoticeMs: null,
      },
      deliveriesMax: 10,
      waitingMax: 100,
      waitingPerDestinationMax: 50,
      attemptMaxMs: 60_000,
      throttle: {
        limitStart: 5,
        limitMax: 10,
        cohort: 5,
        suspendFirstMs: 1000,
        suspendMaxMs: 60_000,
      },
    },
    { storage, relay, world: realWorld, emit },
  );
}

const envelope: Envelope = {
  sender: "alice@app.example",
  recipients: [{ index: 0, address: "bob@example.net" }],
  content: bytesContent(new TextEncoder().encode("Subject: hi\r\n\r\nhello\r\n")),
  client: { ip: "127.0.0.1", host: "localhost", name: "app.example", protocol: "LOCAL" },
  receiver: "app.example",
  receivedAt: 0,
  dsn: {},
  eightBit: false,
  smtpUtf8: false,
};

test("the queue is a library: another program stores, relays and bounces with it", async () => {
  await using spool = tempDir("library");
  const recorder = openRecorder();
  const storage = await openDiskStorage(
    { directory: spool.join("spool"), freshBytesMax: 1e6, freeBytesMin: 0, freePercentMin: 0 },
    { world: realWorld, emit: recorder.emit },
  );
  expect(storage).toBeInstanceOf(DiskStorage);
  const seen: string[] = [];
  const relay: Relay = {
    async deliver({ envelope: { recipients } }) {
      seen.push(...recipients.map(({ address }) => address));
      return recipients.map(
        ({ index, address }): Outcome => ({
          recipient: index,
          ...(address.startsWith("bob")
            ? { kind: "rejected", reply: reply(550, "5.1.1", "No Bob") }
            : { kind: "delivered", reply: reply(250, "2.0.0", "Ok") }),
          setupMs: 0,
          transferMs: 0,
        }),
      );
    },
    destinationOf: (domain) => domain,
    stats: () => ({ open: 0, idle: 0 }),
    close: () => Promise.resolve(),
  };
  const queue = embed(storage, relay, recorder.emit);
  queue.start();
  await expect(queue.enqueue({ ...envelope, recipients: [] })).rejects.toBeInstanceOf(QueueError);
  const [id] = await queue.enqueue({ ...envelope, receivedAt: realWorld.clock.now() });
  expect(await recorder.next("removed")).toMatchObject({ id });
  await recorder.next("removed");
  expect(seen).toEqual(["bob@example.net", "alice@app.example"]);
  await queue.drain(AbortSignal.timeout(5000));
  expect((await storage.getInfo()).size).toBe(0);
  await storage.close();
});
