import { NotFoundError, type QueueStorage } from "../../src/storage/storage.ts";
import { bytesOf } from "../storage/fixtures.ts";
import type { Facts } from "./history.ts";
import { textOf } from "./texts.ts";

/** What the store says of a message, with its text read to the end; throws when that is not what was written. */
export async function factsOf(storage: QueueStorage, id: string): Promise<Facts | undefined> {
  const message = await storage.get(id).catch((error: unknown) => {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  });
  if (message === undefined) return undefined;
  const bytes = await bytesOf(message.envelope.content);
  const text = /^Subject: (\S*)\r\n/u.exec(Buffer.from(bytes.subarray(0, 100)).toString())?.[1];
  if (text === undefined || !Bun.deepEquals(bytes, textOf(text, bytes.length))) {
    throw new Error(`P1: the text of ${id} is not what was written`);
  }
  const pending = new Set(message.envelope.recipients.map(({ index }) => index));
  const { attempts, due, state, original } = message;
  const done = original.map(({ index }) => index).filter((index) => !pending.has(index));
  return { text, size: bytes.length, attempts, done, held: state === "hold", due };
}
