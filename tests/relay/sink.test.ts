import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { Subprocess } from "bun";
import { content, delivery, envelope, HASTY, NEVER, relayTo, shown } from "./fixtures.ts";

const SINK = "/usr/sbin/smtp-sink";
const hasSink = existsSync(SINK);
const running: Subprocess[] = [];
const closing: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of closing.splice(0)) await one.close();
  for (const sink of running.splice(0)) {
    sink.kill();
    await sink.exited;
  }
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.on("close", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** Postfix's receiving test server, with options for faults. */
async function sink(...flags: string[]): Promise<number> {
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  for (;;) {
    const port = await freePort();
    const command = [SINK, ...user, ...flags, `127.0.0.1:${port}`, "100"];
    const started = Bun.spawn(command, { stdout: "ignore", stderr: "ignore" });
    running.push(started);
    // It ends at once when somebody else took the port in between.
    while (started.exitCode === null) {
      if (await answers(port)) return port;
      await new Promise(setImmediate);
    }
  }
}

async function outcomesFrom(flags: readonly string[], more = {}) {
  const relay = relayTo(await sink(...flags), more);
  closing.push(relay);
  const outcomes = await relay.deliver(delivery(envelope(["a@x.example", "b@x.example"])), NEVER);
  return { outcomes, relay };
}

const TWICE = (one: string) => [one, one];

// What Postfix's own client is tested against.
const FAULTS: readonly [string, readonly string[], readonly string[]][] = [
  ["nothing wrong", [], TWICE("delivered 250 2.0.0")],
  ["no pipelining", ["-p"], TWICE("delivered 250 2.0.0")],
  ["no ESMTP", ["-e"], TWICE("delivered 250 2.0.0")],
  ["hard refusal to connect", ["-f", "connect"], TWICE("deferred 451 4.3.0")],
  ["hard refusal of MAIL", ["-f", "mail"], TWICE("rejected 500 5.3.0")],
  ["hard refusal of RCPT", ["-f", "rcpt"], TWICE("rejected 500 5.3.0")],
  ["hard refusal of DATA", ["-f", "data"], TWICE("rejected 500 5.3.0")],
  ["hard refusal of the message", ["-f", "."], TWICE("rejected 500 5.3.0")],
  ["soft refusal of EHLO", ["-r", "ehlo"], TWICE("deferred 450 4.3.0")],
  ["soft refusal of MAIL", ["-r", "mail"], TWICE("deferred 450 4.3.0")],
  ["soft refusal of RCPT", ["-r", "rcpt"], TWICE("deferred 450 4.3.0")],
  ["soft refusal of DATA", ["-r", "data"], TWICE("deferred 450 4.3.0")],
  ["soft refusal of the message", ["-r", "."], TWICE("deferred 450 4.3.0")],
  ["hanging up on EHLO", ["-q", "ehlo"], TWICE("deferred 451 4.4.2")],
  ["hanging up on MAIL", ["-q", "mail"], TWICE("deferred 451 4.4.2")],
  ["hanging up on RCPT", ["-q", "rcpt"], TWICE("deferred 451 4.4.2")],
  ["hanging up on DATA", ["-q", "data"], TWICE("deferred 451 4.4.2")],
  ["hanging up on the message", ["-q", "."], TWICE("deferred 451 4.4.2")],
  ["421 to MAIL", ["-Q", "mail"], TWICE("deferred 421 4.0.0")],
  ["421 to RCPT", ["-Q", "rcpt"], TWICE("deferred 421 4.0.0")],
  ["421 to DATA", ["-Q", "data"], TWICE("deferred 421 4.0.0")],
  ["421 to the message", ["-Q", "."], TWICE("deferred 421 4.0.0")],
];

test.skipIf(!hasSink).each(FAULTS)("smtp-sink with %s", async (_, flags, expected) => {
  const { outcomes } = await outcomesFrom(flags);
  expect(shown(outcomes).map((one) => one.replace(/421 4\.\d\.\d/u, "421 4.0.0"))).toEqual([
    ...expected,
  ]);
});

test.skipIf(!hasSink)(
  "smtp-sink that takes its time to answer DATA is not waited for",
  async () => {
    const { outcomes, relay } = await outcomesFrom(["-w", "30"], { timeouts: HASTY });
    expect(shown(outcomes)).toEqual(TWICE("deferred 451 4.4.2"));
    expect(relay.stats().open).toBe(0);
  },
);

test.skipIf(!hasSink)("a thousand messages over one connection", async () => {
  const relay = relayTo(await sink(), { messagesPerConnectionMax: 1000 });
  closing.push(relay);
  const of = envelope(["a@x.example"], { content: content("x".repeat(10_000)) });
  let last: number | undefined;
  for (let count = 0; count < 1000; count += 1) {
    const [outcome] = await relay.deliver(delivery(of), NEVER);
    if (outcome?.kind !== "delivered") throw new Error(JSON.stringify(outcome));
    last = outcome.remote?.connectionUse;
  }
  expect(last).toBe(1000);
});
