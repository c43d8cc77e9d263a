import type { World } from "../../src/lib/world.ts";
import { bytesContent, type Content, contentChunks } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import type { QueueStorage, StorageInfo } from "../../src/storage/storage.ts";

/** A world whose time stands still until it is moved, and whose timers go off at once, so that nothing is waited for. */
export interface TestWorld extends World {
  advance(ms: number): void;
}

export function testWorld(startMs = 1_800_000_000_000): TestWorld {
  let nowMs = startMs;
  let rolls = 0;
  return {
    clock: {
      now: () => nowMs,
      after(_delayMs, run) {
        const timer = setTimeout(run, 0);
        return () => clearTimeout(timer);
      },
    },
    random: () => {
      rolls = (rolls + 0.618034) % 1;
      return rolls;
    },
    advance(ms) {
      nowMs += ms;
    },
  };
}

export interface Given {
  readonly sender?: string;
  readonly to?: readonly string[];
  readonly text?: string;
  readonly content?: Content;
  readonly receivedAt?: number;
}

export function envelope(given: Given = {}): Envelope {
  const {
    sender = "sender@example.org",
    to = ["one@example.com"],
    text = "Subject: x\r\n\r\nhi\r\n",
  } = given;
  return {
    sender,
    recipients: to.map((address, index) => ({ index, address })),
    content: given.content ?? bytesContent(new TextEncoder().encode(text)),
    client: { ip: "192.0.2.1", host: "client.example", name: "client.example", protocol: "ESMTP" },
    receiver: "mx.example.net",
    receivedAt: given.receivedAt ?? 1_800_000_000_000,
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
  };
}

/** An id as tests need them: in the order of their numbers. */
export function idOf(number: number): string {
  return `1M8000000${String(number).padStart(7, "0")}`;
}

export async function bytesOf(content: Content): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of contentChunks(content)) chunks.push(chunk.slice());
  return new Uint8Array(Buffer.concat(chunks));
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** What a queue says of itself, without what the store was asked for it: that differs from call to call. */
export async function infoOf(storage: QueueStorage): Promise<StorageInfo> {
  const { requests: _, ...info } = await storage.getInfo();
  return info;
}
