import { describe, expect, test } from "bun:test";
import { bodyContent } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { openMemoryStorage } from "../../src/storage/memory/memory-storage.ts";
import type { MessageRow } from "../../src/storage/message-row.ts";
import { storageContract } from "../contract/contract.ts";
import { envelope, testWorld } from "./fixtures.ts";

const OPTIONS = { bodyBytesMax: 32 * 1024 * 1024 };

storageContract("memory", async (world) => {
  const storage = openMemoryStorage(OPTIONS, { world });
  return { storage, isInMemory: true, [Symbol.asyncDispose]: () => storage.close() };
});

describe("the memory engine", () => {
  test("works over maps of its caller, and goes on with what they hold", async () => {
    const world = testWorld();
    const envelopes = new Map<string, Envelope>();
    const meta = new Map<string, MessageRow>();
    const first = openMemoryStorage(OPTIONS, { world, envelopes, meta });
    const now = world.clock.now();
    const [leased = ""] = await first.write([envelope()], now);
    await first.lease(now, 1, { holder: "me", until: now + 1000 });
    const [flushed = ""] = await first.write([envelope()], now + 1000);
    await first.flush();
    await first.write([envelope()], now + 1000);
    expect([envelopes.size, meta.size]).toEqual([3, 3]);

    const second = openMemoryStorage(OPTIONS, { world, envelopes, meta });
    const leases = await second.lease(now, 9, { holder: "other", until: now + 1000 });
    expect(leases.map(({ id }) => id).sort()).toEqual([leased, flushed].sort());
    await second.remove(leased);
    expect([envelopes.size, meta.size]).toEqual([2, 2]);
  });

  test("keeps a body up to its limit and not an octet more", async () => {
    const storage = openMemoryStorage({ bodyBytesMax: 10 }, { world: testWorld() });
    const sink = await storage.openBody();
    await sink.write(new Uint8Array(10));
    const refused = sink.write(new Uint8Array(1));
    await expect(refused).rejects.toThrow(QueueError);
    await expect(refused).rejects.toMatchObject({ reply: { code: 452 } });
    await storage.write([envelope({ content: bodyContent(await sink.end()) })], 1);
    expect(await storage.getInfo()).toMatchObject({ bytes: 10 });
  });
});
