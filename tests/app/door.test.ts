import { expect, test } from "bun:test";
import { frontDoor } from "../../src/app/door.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import type { Event } from "../../src/observe/events.ts";

const ENVELOPE = {} as Envelope;

test("a storage that fails is told of once, and once when it works again; refusals of policies are not", async () => {
  const events: Event[] = [];
  let fault: Error | undefined = new QueueError("loops");
  const enqueue = async () => {
    if (fault) throw fault;
    return ["ID"];
  };
  const storage = { openBody: () => Promise.reject(new Error("unused")), refusal: () => undefined };
  const door = frontDoor({ enqueue }, storage, (event) => void events.push(event));
  await expect(door.accept(ENVELOPE)).rejects.toThrow("loops");
  expect(events).toEqual([]);
  fault = new QueueError("cannot store the message (EIO)", { cause: new Error("EIO: i/o error") });
  await expect(door.accept(ENVELOPE)).rejects.toBe(fault);
  await expect(door.accept(ENVELOPE)).rejects.toBe(fault);
  fault = undefined;
  expect(await door.accept(ENVELOPE)).toEqual(["ID"]);
  expect(await door.accept(ENVELOPE)).toEqual(["ID"]);
  expect(events).toEqual([
    {
      kind: "storage",
      state: "failing",
      operation: "accept",
      reason: "cannot store the message (EIO): EIO: i/o error",
    },
    { kind: "storage", state: "recovered", operation: "accept", reason: "" },
  ]);
});
