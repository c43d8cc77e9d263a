import { expect, test } from "bun:test";
import { bytesContent } from "../../src/mail/content.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { type Reply, reply } from "../../src/mail/reply.ts";
import { type Attempt, openCustomRelay } from "../../src/relay/custom.ts";
import type { Delivery } from "../../src/relay/relay.ts";

const delivery: Delivery = {
  id: "A",
  attempts: 0,
  envelope: {
    sender: "a@b.example",
    // The one between them has its mail.
    recipients: [0, 2].map((index) => ({ index, address: `r${index}@b.example` })),
    content: bytesContent(new Uint8Array(0)),
    client: { ip: "127.0.0.1", host: "localhost", name: "x", protocol: "LOCAL" },
    ...{ receiver: "x", receivedAt: 0, dsn: {}, eightBit: false, smtpUtf8: false },
  },
};

async function outcomesOf(attempt: Attempt) {
  const outcomes = await openCustomRelay(attempt).deliver(delivery, AbortSignal.timeout(1000));
  return outcomes.map(({ recipient, kind, reply: { code, text } }) => [
    recipient,
    kind,
    code,
    text,
  ]);
}

const OK = reply(250, "2.0.0", "Ok");
const LATER = reply(421, "4.3.0", "Later");
const NEVER = reply(550, "5.1.1", "Never");

test("one reply is everybody's; several are those of the recipients in their order", async () => {
  expect(await outcomesOf(async () => OK)).toEqual([
    [0, "delivered", 250, "Ok"],
    [2, "delivered", 250, "Ok"],
  ]);
  expect(await outcomesOf(async () => [LATER, NEVER])).toEqual([
    [0, "deferred", 421, "Later"],
    [2, "rejected", 550, "Never"],
  ]);
});

test("whoever gets no answer is tried again", async () => {
  expect(await outcomesOf(async () => [OK])).toEqual([
    [0, "delivered", 250, "Ok"],
    [2, "deferred", 450, "The relay gave no answer for this recipient"],
  ]);
});

test("what is thrown is temporary, unless it says otherwise", async () => {
  const thrown = (error: unknown) => outcomesOf(() => Promise.reject(error));
  const oops = "Unhandled delivery error: oops here";
  expect((await thrown(new Error("oops\r\nhere")))[1]).toEqual([2, "deferred", 450, oops]);
  expect((await thrown("oops here"))[0]).toEqual([0, "deferred", 450, oops]);
  const never = new QueueError("x", { reply: NEVER });
  expect((await thrown(never))[0]).toEqual([0, "rejected", 550, "Never"]);
  const atOnce = (): Promise<Reply> => {
    throw new Error("oops here");
  };
  expect((await outcomesOf(atOnce))[0]).toEqual([0, "deferred", 450, oops]);
});

test("is closed once, and is one destination unless it says otherwise", async () => {
  let closed = 0;
  const close = async () => {
    closed += 1;
  };
  const relay = openCustomRelay(async () => OK, { close });
  await Promise.all([relay.close(), relay.close()]);
  expect(closed).toBe(1);
  expect(relay.destinationOf("a.example")).toBe(relay.destinationOf("b.example"));
  const own = openCustomRelay(async () => OK, { destinationOf: (domain) => domain });
  expect(own.destinationOf("a.example")).toBe("a.example");
});
