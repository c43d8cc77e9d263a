import { realWorld } from "../../src/lib/world.ts";
import { bytesContent } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { openDiskStorage } from "../../src/storage/disk/open.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";

/** Messages that were tried and put off, as they lie in a spool after some hours. */
export interface Backlog {
  readonly messages: number;
  /** Whom message `index` is for. */
  readonly recipient: (index: number) => string;
  /** When message `index` is due, in milliseconds since the epoch. */
  readonly due: (index: number) => number;
  /** Attempts that each has behind it; with none, it lies there as it was accepted. */
  readonly attempts: number;
}

const BATCH = 500;
const BYTES = 2048;
const STORAGE = { freshBytesMax: 0, freeBytesMin: 0, freePercentMin: 0 };

/** Puts a backlog into a spool that no server uses at the moment. */
export async function fillSpool(directory: string, backlog: Backlog): Promise<void> {
  const parts = { world: realWorld, emit: () => undefined };
  const storage = await openDiskStorage({ directory, ...STORAGE }, parts);
  try {
    await fillStorage(storage, backlog);
  } finally {
    await storage.close();
  }
}

/** Puts a backlog into an open storage, many messages in each step. */
export async function fillStorage(storage: QueueStorage, backlog: Backlog): Promise<void> {
  for (let start = 0; start < backlog.messages; start += BATCH) {
    const count = Math.min(BATCH, backlog.messages - start);
    const indexes = Array.from({ length: count }, (_, offset) => start + offset);
    const envelopes = indexes.map((index) => envelopeTo(backlog.recipient(index)));
    const ids = await storage.write(envelopes, backlog.due(start));
    if (backlog.attempts === 0) continue;
    const settle = (id: string, offset: number) =>
      storage.settle(id, {
        attempts: backlog.attempts,
        due: backlog.due(start + offset),
        delayNotified: true,
      });
    await Promise.all(ids.map(settle));
  }
}

function envelopeTo(address: string): Envelope {
  const text = `Subject: waiting\r\n\r\n${`${"w".repeat(62)}\r\n`.repeat(BYTES / 64)}`;
  return {
    sender: "waiting@sender.take.test",
    recipients: [{ index: 0, address }],
    content: bytesContent(new TextEncoder().encode(text)),
    client: { ip: "127.0.0.1", host: "localhost", name: "endurance.test", protocol: "ESMTP" },
    receiver: "endurance.test",
    receivedAt: Date.now(),
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
  };
}
