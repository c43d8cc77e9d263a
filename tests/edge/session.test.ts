import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SmtpSession } from "../../src/edge/session.ts";
import { realWorld } from "../../src/lib/world.ts";
import { contentOf, OPTIONS, testDoor } from "./edge-fixture.ts";

interface Spoken {
  readonly replies: string;
  readonly writes: number;
  readonly messages: readonly string[];
}

/** A session over a wire that only remembers. */
function scriptedSession(write: (text: string) => boolean) {
  const door = testDoor();
  const bye = Promise.withResolvers<void>();
  let resumed = Promise.withResolvers<void>();
  resumed.resolve();
  const wire = {
    write,
    pause: () => {
      resumed = Promise.withResolvers();
    },
    resume: () => resumed.resolve(),
    startTls: () => undefined,
    end: bye.resolve,
    destroy: bye.resolve,
  };
  const session = new SmtpSession(
    { ...OPTIONS, listener: "test", spillBytes: 20 },
    {
      wire,
      door,
      emit: () => undefined,
      world: realWorld,
      ip: "127.0.0.1",
      trusted: true,
      tls: undefined,
      hasCertificate: () => false,
    },
  );
  session.open();
  return {
    session,
    door,
    ended: bye.promise,
    ready: () => Promise.race([resumed.promise, bye.promise]),
  };
}

/** Feeds a session its input in the given pieces and waits until it has said goodbye. */
async function speak(pieces: readonly Uint8Array[]): Promise<Spoken> {
  const written: string[] = [];
  const { session, door, ended, ready } = scriptedSession((text) => written.push(text) > 0);
  for (const piece of pieces) {
    session.receive(piece);
    await ready();
  }
  session.inputEnded();
  await ended;
  session.gone();
  const messages: string[] = [];
  for (const envelope of door.envelopes) {
    const to = envelope.recipients.map(({ address }) => address).join(",");
    messages.push(`${envelope.sender}>${to}:${await contentOf(envelope)}`);
  }
  return { replies: written.join(""), writes: written.length, messages };
}

const body = fc
  .array(fc.constantFrom("\r", "\n", ".", "\r\n", "text", "\0", "\r\n.x", "\xe9"), {
    maxLength: 15,
  })
  .map((parts) => `${parts.join("")}`);
const command = fc.constantFrom(
  ...["EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "RCPT TO:<E@d.example>"],
  ...["RSET", "NOOP", "nonsense", "RCPT TO:<bad", "DATA x", "VRFY you"],
);
const transaction = body.map(
  (text) => `RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n${text}\r\n.\r\n`,
);
const input = fc
  .array(
    fc.oneof(
      command.map((line) => `${line}\r\n`),
      transaction,
    ),
    { maxLength: 12 },
  )
  .map((parts) => Buffer.from(`EHLO client.example\r\n${parts.join("")}QUIT\r\n`, "latin1"));

describe("a session", () => {
  test("says and stores the same however its input is split", async () => {
    const cuts = fc.array(fc.nat({ max: 1000 }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(input, cuts, async (bytes, at) => {
        const bounds = [0, ...at.filter((cut) => cut < bytes.length).sort((a, b) => a - b)];
        const pieces = bounds.map((cut, index) => bytes.subarray(cut, bounds[index + 1]));
        const { writes: _, ...whole } = await speak([bytes]);
        expect(await speak(pieces)).toMatchObject(whole);
        expect(await speak([...bytes].map((byte) => Uint8Array.of(byte)))).toMatchObject(whole);
      }),
      { numRuns: 200 },
    );
  });

  test("answers a burst of commands in one write", async () => {
    const burst = "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";
    const { writes, messages } = await speak([Buffer.from(`${burst}hello\r\n.\r\nQUIT\r\n`)]);
    // The greeting; everything up to 354; what comes of the message, and goodbye.
    expect(writes).toBe(3);
    expect(messages).toEqual(["a@b.example>c@d.example:hello\r\n"]);
  });

  test("lets others have their turn, and still answers every command", async () => {
    const { replies } = await speak([Buffer.from(`${"NOOP\r\n".repeat(5000)}QUIT\r\n`)]);
    expect(replies.match(/250 2\.0\.0 Ok/gu)).toHaveLength(5000);
    expect(replies).toEndWith("221 2.0.0 Bye\r\n");
  });

  test("reads on only when the client has read its replies", async () => {
    const written: string[] = [];
    const { session, ready, ended } = scriptedSession((text) => {
      written.push(text);
      return false;
    });
    session.receive(Buffer.from("NOOP\r\n"));
    session.receive(Buffer.from("NOOP\r\nNOOP\r\n"));
    session.receive(Buffer.from("QUIT\r\n"));
    expect(written.slice(1)).toEqual(["250 2.0.0 Ok\r\n"]);
    session.drained();
    expect(written.slice(2)).toEqual([`${"250 2.0.0 Ok\r\n".repeat(2)}221 2.0.0 Bye\r\n`]);
    await ready();
    await ended;
  });
});
