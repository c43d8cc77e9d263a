import { describe, expect, test } from "bun:test";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import { ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import { DROP, openPeer, type Reaction, type Script, STALL } from "../relay/fake-peer.ts";
import { type Daemon, startDaemon } from "../support/binary.ts";
import { freePort } from "../support/free-port.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { drained, flush, QUICK, queueOf } from "./help.ts";

/** Timeouts of a second: what stalls is noticed within a test. */
const IMPATIENT = ["connect", "greeting", "command", "data", "block", "end"].flatMap((step) => [
  "--set",
  `relay.timeout.${step}=700ms`,
]);

function start(spool: string, ...ports: readonly number[]): Promise<Daemon> {
  const relays = ports.flatMap((port) => ["--relay", `smtp://127.0.0.1:${port}`]);
  return startDaemon({ spool, args: [...relays, ...QUICK, ...IMPATIENT] });
}

/** Reacts so to commands that begin with `verb`. */
function at(verb: string, reaction: Reaction): Script {
  return { on: (command) => (command.toUpperCase().startsWith(verb) ? reaction : undefined) };
}

const ENDLESS = `250-${"x".repeat(200)}\r\n`.repeat(2000);

const MISBEHAVIOURS: Readonly<Record<string, Script>> = {
  "says nothing on connecting": { greeting: STALL },
  "hangs up on connecting": { greeting: DROP },
  "greets with garbage": { greeting: "\u0000\u00ff garbage without a code" },
  "greets without end": { greeting: ENDLESS.replaceAll("250-", "220-") },
  "stalls at EHLO": at("EHLO", STALL),
  "hangs up at EHLO": at("EHLO", DROP),
  "answers EHLO without end": at("EHLO", ENDLESS),
  "stalls at MAIL": at("MAIL", STALL),
  "hangs up at MAIL": at("MAIL", DROP),
  "stalls at RCPT": at("RCPT", STALL),
  "hangs up at RCPT": at("RCPT", DROP),
  "answers RCPT with garbage": at("RCPT", "what?"),
  "stalls at DATA": at("DATA", STALL),
  "hangs up at DATA": at("DATA", DROP),
  "stalls after the final dot": { onData: () => STALL },
  "hangs up after the final dot": { onData: () => DROP },
  "answers the final dot with garbage": { onData: () => "\u0007ok" },
};

describe("a next hop that misbehaves: the mail waits for one that does not, and is delivered once", () => {
  for (const [title, script] of Object.entries(MISBEHAVIOURS)) {
    test.concurrent(title, async () => {
      await using dir = tempDir("hop");
      const bad = await openPeer(script);
      const { port } = bad;
      await using daemon = await start(dir.path, port);
      const client = ledgerClient();
      await client.sendSome(daemon.smtpPort, 1, 2);
      await daemon.line(/status=deferred/u, 10_000);
      expect((await daemon.admin("/readyz")).status).toBe(200);
      expect((await queueOf(daemon)).size).toBe(2);
      await bad.close();
      await using good = await ledgerReceiver({ port });
      await until("delivered", async () => {
        await flush(daemon);
        return good.count() === 2;
      });
      await drained(daemon);
      expect([...good.taken.values()].map((instants) => instants.length)).toEqual([1, 1]);
    }, 30_000);
  }
});

test("a second smarthost takes over within the same attempt", async () => {
  await using dir = tempDir("hop");
  const bad = await openPeer({ greeting: "421 4.3.2 Not now" });
  await using good = await ledgerReceiver();
  await using daemon = await start(dir.path, bad.port, good.port);
  const client = ledgerClient();
  await client.sendSome(daemon.smtpPort, 2, 10);
  await drained(daemon);
  expect(good.count()).toBe(10);
  expect(daemon.output()).not.toContain("status=deferred");
  await bad.close();
});

test("mail that came while the next hop was down goes out when it is back, without being asked", async () => {
  await using dir = tempDir("hop");
  const port = await freePort();
  await using daemon = await start(dir.path, port);
  const client = ledgerClient();
  await client.sendSome(daemon.smtpPort, 8, 100);
  await using good = await ledgerReceiver({ port });
  await drained(daemon, 25_000);
  expect(good.count()).toBe(100);
  expect(good.taken.size).toBe(100);
}, 40_000);
