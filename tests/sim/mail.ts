import { base32 } from "../../src/lib/id.ts";
import { bodyContent, bytesContent, type Content, concatBytes } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import type { Send } from "./history.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const LINE = "The quick brown fox jumps over the lazy dog, again and again and on.\r\n";
/** Every text is a beginning of this one. */
const TEXT = encoder.encode(LINE.repeat(500));
const LINE_END = encoder.encode("\r\n");

/** The bytes of a message follow from its number and size, so that peers can tell whether they got all of it. */
export function bytesOf({
  number,
  size,
  hops,
}: Pick<Send, "number" | "size" | "hops">): Uint8Array {
  const trace = "Received: from a.test by b.test\r\n".repeat(hops);
  const head = encoder.encode(`${trace}Subject: ${number}\r\nX-Size: ${size} ${hops}\r\n\r\n`);
  return concatBytes([head, TEXT.subarray(0, size), LINE_END]);
}

/** Whether what a peer received is what a client sent; notifications are read elsewhere. */
export function isIntact(envelope: Envelope, bytes: Uint8Array): boolean {
  if (envelope.client.protocol === "LOCAL") return true;
  const text = decoder.decode(bytes.subarray(0, 8192));
  const [, number, size, hops] = /Subject: (\d+)\r\nX-Size: (\d+) (\d+)\r\n/u.exec(text) ?? [];
  if (number === undefined) return false;
  const sent = bytesOf({ number: Number(number), size: Number(size), hops: Number(hops) });
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .subarray(-sent.length)
    .equals(sent);
}

/** What a client hands in. A streamed body goes to the store before; `discard` gives it up. */
export async function handIn(
  send: Send,
  now: number,
  storage: QueueStorage,
): Promise<{ readonly envelope: Envelope; readonly discard: () => Promise<void> }> {
  const { from, to, notify } = send;
  const { content, discard } = await contentOf(send, storage);
  const envelope: Envelope = {
    sender: from,
    recipients: to.map((address, index) => ({
      index,
      address,
      ...(notify === "none" ? {} : { notify: [notify] }),
    })),
    content,
    client: { ip: "192.0.2.1", host: "unknown", name: "app.test", protocol: "ESMTP" },
    receiver: "queue.test",
    receivedAt: now,
    dsn: {},
    eightBit: false,
    smtpUtf8: false,
  };
  return { envelope, discard };
}

async function contentOf(
  send: Send,
  storage: QueueStorage,
): Promise<{ readonly content: Content; readonly discard: () => Promise<void> }> {
  const bytes = bytesOf(send);
  if (send.streamed === 0) return { content: bytesContent(bytes), discard: async () => undefined };
  const sink = await storage.openBody();
  const discard = (): Promise<void> => sink.discard();
  try {
    for (let at = 0; at < bytes.length; at += 4096) await sink.write(bytes.subarray(at, at + 4096));
    return { content: bodyContent(await sink.end()), discard };
  } catch (error) {
    await discard();
    throw error;
  }
}

/** The id that a client gives which has one of its own. */
export function idOf(number: number): string {
  return base32(number, 16);
}
