import { expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { reply } from "../../src/mail/reply.ts";

test("a queue error carries the reply and the cause", () => {
  const cause = new Error("disk");
  const answer = reply(452, "4.3.1", "Insufficient system storage");
  const error = new QueueError("cannot store", { reply: answer, cause });
  expect(error).toMatchObject({ name: "QueueError", reply: answer, cause });
  expect(new QueueError("x").reply).toBeUndefined();
});
