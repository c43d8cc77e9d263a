import { describe, expect, test } from "bun:test";
import {
  DiskStorage,
  fanOut,
  LockedError,
  NotFoundError,
  newEnvelope,
  openCustomRelay,
  openDiskStorage,
  openMemoryStorage,
  openMxRelay,
  openPostgresStorage,
  openQueue,
  openRedisStorage,
  openSmarthostRelay,
  openStorage,
  QueueError,
  stepsBackoff,
} from "slimta-queue";
import { freePort } from "./support/free-port.ts";
import { mailHost } from "./support/mail-host.ts";
import { openRecorder } from "./support/recorder.ts";
import { tempDir } from "./support/temp-dir.ts";

const SPACE = { freeBytesMin: 0, freePercentMin: 0 };
const plain = () =>
  newEnvelope({ sender: "", recipients: ["bob@example.net"], message: "Subject: hi\n\nhello\n" });

describe("an envelope", () => {
  test("has what mail made here has: CRLF, indexes, this host as its client", async () => {
    const { content, recipients, client, receiver, receivedAt, ...facts } = plain();
    expect(content.body).toMatchObject({
      bytes: new TextEncoder().encode("Subject: hi\r\n\r\nhello\r\n"),
    });
    expect(recipients).toEqual([{ index: 0, address: "bob@example.net" }]);
    expect(client).toEqual({
      ip: "127.0.0.1",
      host: "localhost",
      name: receiver,
      protocol: "LOCAL",
    });
    expect(receiver).not.toBe("");
    expect(Math.abs(receivedAt - Date.now())).toBeLessThan(60_000);
    expect(facts).toEqual({ sender: "", dsn: {}, eightBit: false, smtpUtf8: false });
  });

  test("knows what it asks of next hops, and what was asked of notifications", () => {
    const recipients = [{ address: "bøb@example.net", notify: ["NEVER"] as const }, "a@b.example"];
    const made = newEnvelope({ sender: "", recipients, message: "Subject: grüß\r\n" });
    expect(made).toMatchObject({ eightBit: true, smtpUtf8: true });
    expect(made.recipients).toEqual([
      { index: 0, address: "bøb@example.net", notify: ["NEVER"] },
      { index: 1, address: "a@b.example" },
    ]);
  });
});

describe("a storage", () => {
  test("is opened by a path or by a URL, and says what is wrong with either", async () => {
    await using dir = tempDir("library");
    const disk = await openStorage(dir.join("spool"));
    expect(disk).toBeInstanceOf(DiskStorage);
    await expect(openDiskStorage({ directory: dir.join("spool") })).rejects.toThrow(LockedError);
    await disk.close();
    const memory = await openStorage("memory:");
    await expect(memory.get("NONE")).rejects.toThrow(NotFoundError);
    await memory.close();
    for (const open of [openStorage, openRedisStorage, openPostgresStorage]) {
      await expect(open("gopher://me:secret@host/")).rejects.toThrow(TypeError);
    }
    const wrong = openRedisStorage("postgres://me:secret@127.0.0.1/db");
    const reason = await wrong.then(String, (error: Error) => error.message);
    expect(reason).toBe("that is no URL of redis");
  });
});

describe("a queue", () => {
  test("needs only a storage: what is accepted is kept", async () => {
    const storage = openMemoryStorage();
    const recorder = openRecorder();
    const listeners = [recorder.emit, () => expect.unreachable()];
    const queue = openQueue({ storage, onEvent: fanOut(listeners) });
    queue.start();
    const [id = ""] = await queue.enqueue(plain());
    expect(await recorder.next("accepted")).toMatchObject({ id });
    await expect(queue.enqueue({ ...plain(), recipients: [] })).rejects.toThrow(QueueError);
    const { prefix } = (await storage.get(id)).envelope.content;
    // The stock policies are at work.
    expect(new TextDecoder().decode(prefix)).toMatch(/^Received: .*\r\nMessage-ID: .*\r\nDate: /su);
    const DAYS = 24 * 60 * 60_000;
    const { expiresAt = 0, receivedAt = 0 } = (await queue.control.show(id)) ?? {};
    expect(expiresAt - receivedAt).toBe(1 * DAYS);
    await queue.drain(AbortSignal.timeout(5000));
    await storage.close();
  });

  test("does what it is told instead of the stock things", async () => {
    const storage = openMemoryStorage();
    const queue = openQueue({
      ...{ storage, hostname: "app.example", policies: [] },
      ...{
        bounceLifetimeMs: 1000,
        backoff: stepsBackoff({ stepsMs: [1], jitter: 0, lifetimeMs: 1 }),
      },
    });
    const [id = ""] = await queue.enqueue(plain());
    expect((await storage.get(id)).envelope.content.prefix).toHaveLength(0);
    const { expiresAt = 0, receivedAt = 0 } = (await queue.control.show(id)) ?? {};
    expect(expiresAt - receivedAt).toBe(1000);
    await storage.close();
  });

  test("hands mail to a smarthost by its URL", async () => {
    await using spool = tempDir("library");
    const port = await freePort();
    const taken: string[] = [];
    await using _host = await mailHost("127.0.0.1", port, {
      onTaken: (recipients) => void taken.push(...recipients),
    });
    const recorder = openRecorder();
    const storage = await openDiskStorage({ directory: spool.join("spool"), ...SPACE });
    const relay = openSmarthostRelay(`smtp://127.0.0.1:${port}`, { tls: "none" });
    const queue = openQueue({ storage, relay, onEvent: recorder.emit });
    queue.start();
    const [id] = await queue.enqueue(plain());
    expect(await recorder.next("removed")).toMatchObject({ id });
    expect(taken).toEqual(["bob@example.net"]);
    await queue.drain(AbortSignal.timeout(5000));
    await relay.close();
    await storage.close();
  });

  test("takes no more out of a storage that nodes share than it soon gets to", async () => {
    for (const [isShared, inMemory] of [
      [false, 150],
      [true, 105],
    ] as const) {
      const storage = Object.assign(openMemoryStorage(), { isShared });
      const hangs = Promise.withResolvers<never>();
      const relay = openCustomRelay(() => hangs.promise);
      const queue = openQueue({ storage, relay });
      queue.start();
      for (let count = 0; count < 150; count += 1) await queue.enqueue(plain());
      const { delivering, waiting } = await queue.control.status();
      expect(delivering + waiting).toBe(inMemory);
      hangs.reject(new Error("no more"));
      await queue.drain(AbortSignal.timeout(5000));
      await storage.close();
    }
  });
});

describe("a relay", () => {
  test("is refused with a URL that cannot be read, and never shows it", () => {
    for (const url of ["me:secret@host", "mx", "smtp://me:secret@ho st"]) {
      const opened = () => openSmarthostRelay([url]);
      expect(opened).toThrow(TypeError);
      expect(opened).not.toThrow("secret");
    }
  });

  test("by MX needs nothing to be said", async () => {
    const relay = openMxRelay();
    expect(relay.destinationOf("Example.ORG")).toBe("example.org");
    await relay.close();
    const own = openMxRelay({ hostsMax: 1, timeouts: { connectMs: 10 } });
    expect(own.stats()).toEqual({ open: 0, idle: 0 });
    await own.close();
  });
});
