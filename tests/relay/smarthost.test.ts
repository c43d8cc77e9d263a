import { afterEach, describe, expect, test } from "bun:test";
import type { Relay } from "../../src/relay/relay.ts";
import { DROP, type FakePeer, openPeer, type Reaction, type Script, STALL } from "./fake-peer.ts";
import { BODY, content, delivery, envelope, HASTY, NEVER, relayTo, shown } from "./fixtures.ts";

const closing: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of closing.splice(0).reverse()) await one.close();
});

async function peer(script: Script = {}): Promise<FakePeer> {
  const opened = await openPeer(script);
  closing.push(opened);
  return opened;
}

function relay(...parameters: Parameters<typeof relayTo>): Relay {
  const opened = relayTo(...parameters);
  closing.push(opened);
  return opened;
}

const PIPELINED = { extensions: ["PIPELINING"] };
const LOCK_STEP = { extensions: [] };

describe.each([
  ["pipelined", PIPELINED],
  ["lock-step", LOCK_STEP],
])("%s", (_, mode) => {
  test("a message arrives byte for byte, dots stuffed, with the facts of the session", async () => {
    const { port, transcripts } = await peer(mode);
    const of = envelope(["a@example.com"], { content: content(BODY, "Received: here\r\n") });
    const [outcome] = await relay(port).deliver(delivery(of), NEVER);
    expect(outcome).toMatchObject({
      recipient: 1,
      kind: "delivered",
      reply: { code: 250, enhanced: "2.0.0", text: "Ok: queued as 12345" },
      remote: { host: "127.0.0.1", ip: "127.0.0.1", port, connectionUse: 1 },
      command: "end of DATA",
    });
    const stuffed = `Received: here\r\n${BODY.replace(/\n\./gu, "\n..")}`;
    expect(transcripts[0]?.messages[0]?.toString()).toBe(stuffed);
    expect(transcripts[0]?.commands).toEqual([
      "EHLO relay.example",
      "MAIL FROM:<sender@example.org>",
      "RCPT TO:<a@example.com>",
      "DATA",
    ]);
  });

  test("every recipient keeps its own answer, also when all are refused", async () => {
    const { port, transcripts } = await peer({
      ...mode,
      on: (command) => {
        if (command.includes("gone@")) return "550 5.1.1 no such user";
        if (command.includes("full@")) return "452 4.2.2 mailbox full";
        return command === "DATA" ? "554 5.5.1 no valid recipients" : undefined;
      },
    });
    const opened = relay(port);
    const of = envelope(["gone@example.com", "full@example.com"]);
    expect(shown(await opened.deliver(delivery(of), NEVER))).toEqual([
      "rejected 550 5.1.1",
      "deferred 452 4.2.2",
    ]);
    expect(transcripts[0]?.messages).toEqual([]);
  });

  test("those refused keep their refusal when DATA or the message fails later", async () => {
    for (const [where, answer] of [
      ["DATA", "451 4.3.2 later"],
      ["end", "554 5.7.1 spam"],
    ]) {
      const { port } = await peer({
        ...mode,
        on: (command) => {
          if (command.includes("gone@")) return "550 5.1.1 no such user";
          return command === where ? answer : undefined;
        },
        onData: () => (where === "end" ? answer : undefined),
      });
      const of = envelope(["ok@example.com", "gone@example.com", "ok2@example.com"]);
      const outcomes = await relay(port).deliver(delivery(of), NEVER);
      const rest = where === "end" ? "rejected 554 5.7.1" : "deferred 451 4.3.2";
      expect(shown(outcomes)).toEqual([rest, "rejected 550 5.1.1", rest]);
      expect(outcomes.map(({ command }) => command)).toEqual([
        where === "end" ? "end of DATA" : "DATA",
        "RCPT TO",
        where === "end" ? "end of DATA" : "DATA",
      ]);
    }
  });

  test("a session goes on after a failed transaction", async () => {
    const refused = new Set<unknown>();
    const { port, transcripts } = await peer({
      ...mode,
      on: (command, transcript) => {
        if (command === "RSET") refused.delete(transcript);
        if (command.includes("gone@")) refused.add(transcript);
        if (command.includes("gone@")) return "550 5.1.1 no such user";
        return command === "DATA" && refused.has(transcript)
          ? "503 5.5.1 no recipients"
          : undefined;
      },
    });
    const opened = relay(port);
    expect(shown(await opened.deliver(delivery(envelope(["gone@x.example"])), NEVER))).toEqual([
      "rejected 550 5.1.1",
    ]);
    while (opened.stats().idle === 0) await new Promise(setImmediate);
    const [outcome] = await opened.deliver(delivery(envelope(["b@x.example"])), NEVER);
    expect(outcome).toMatchObject({ kind: "delivered", remote: { connectionUse: 2 } });
    expect(transcripts[0]?.commands).toContain("RSET");
  });

  test("421 in a transaction defers whoever is not settled", async () => {
    const { port } = await peer({
      ...mode,
      on: (command) => {
        if (command.includes("gone@")) return "550 5.1.1 no such user";
        return command.includes("third@") ? "421 4.3.2 closing" : undefined;
      },
    });
    const of = envelope(["ok@x.example", "gone@x.example", "third@x.example", "last@x.example"]);
    expect(shown(await relay(port).deliver(delivery(of), NEVER))).toEqual([
      "deferred 421 4.3.2",
      "rejected 550 5.1.1",
      "deferred 421 4.3.2",
      "deferred 421 4.3.2",
    ]);
  });

  test("a 250 that comes with the 354 is no receipt", async () => {
    for (const early of ["250 2.0.0 taken", "250 2.0.0 tak"]) {
      const { port } = await peer({
        ...mode,
        on: (command, { socket }) => {
          if (command !== "DATA") return undefined;
          socket.write(`354 go\r\n${early}${early.endsWith("taken") ? "\r\n" : ""}`);
          return "";
        },
      });
      const opened = relay(port);
      const outcomes = await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
      expect(shown(outcomes)).toEqual(["deferred 451 4.5.0"]);
      expect(opened.stats()).toEqual({ open: 0, idle: 0 });
    }
  });

  test.each(["250 2.0.0 ", "250-2.0.0 again\r\n", "250 2.0.0 again\r\n", "421 4.3.2 bye\r\n"])(
    "a session is not used again on which %j came unasked",
    async (surplus) => {
      const { port, transcripts } = await peer({
        ...mode,
        onData: (_message, { socket }) => {
          socket.write(`250 2.0.0 Ok\r\n${surplus}`);
          return "";
        },
      });
      const opened = relay(port);
      for (let count = 0; count < 2; count += 1) {
        const [outcome] = await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
        expect(outcome).toMatchObject({ kind: "delivered", remote: { connectionUse: 1 } });
      }
      expect(transcripts).toHaveLength(2);
    },
  );

  const STEPS: readonly [string, Partial<Script>, string][] = [
    ["greeting", { greeting: STALL }, "greeting"],
    ["EHLO", { on: at("EHLO", STALL) }, "EHLO"],
    ["MAIL", { on: at("MAIL", STALL) }, "MAIL FROM"],
    ["RCPT", { on: at("RCPT", STALL) }, "RCPT TO"],
    ["DATA", { on: at("DATA", STALL) }, "DATA"],
    ["end of data", { onData: () => STALL }, "end of data"],
  ];

  test.each(STEPS)("a stall at %s ends in time", async (_step, script, named) => {
    const { port } = await peer({ ...mode, ...script });
    const [outcome] = await relay(port, { timeouts: HASTY }).deliver(
      delivery(envelope(["a@x.example"])),
      NEVER,
    );
    expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.4.2"]);
    expect(outcome?.reply.text).toContain("timed out while");
    expect(outcome?.reply.text).toContain(named);
  });

  test.each(STEPS)("a connection dropped at %s defers", async (step, script) => {
    const dropping: Script = {
      ...mode,
      ...(script.greeting ? { greeting: DROP } : {}),
      ...(script.on ? { on: at(step.slice(0, 4), DROP) } : {}),
      ...(script.onData ? { onData: () => DROP } : {}),
    };
    const { port } = await peer(dropping);
    const [outcome] = await relay(port).deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.4.2"]);
    expect(outcome?.reply.text).toContain("lost connection");
    expect(outcome?.reply.text.includes("may be duplicated")).toBe(step === "end of data");
  });

  test.each(STEPS)("garbage at %s defers and ends the session", async (step, script) => {
    const garbage = "HTTP/1.1 400 Bad Request";
    const { port } = await peer({
      ...mode,
      ...(script.greeting ? { greeting: garbage } : {}),
      ...(script.on ? { on: at(step.slice(0, 4), garbage) } : {}),
      ...(script.onData ? { onData: () => garbage } : {}),
    });
    const opened = relay(port);
    const [outcome] = await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.5.0"]);
    expect(opened.stats()).toEqual({ open: 0, idle: 0 });
  });

  test.each(STEPS)("an endless reply at %s is cut off", async (step, script) => {
    const endless = `250-${"x".repeat(120)}\r\n`.repeat(600);
    const { port } = await peer({
      ...mode,
      ...(script.greeting ? { greeting: endless } : {}),
      ...(script.on ? { on: at(step.slice(0, 4), endless) } : {}),
      ...(script.onData ? { onData: () => endless } : {}),
    });
    const [outcome] = await relay(port).deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(shown(outcome ? [outcome] : [])).toEqual(["deferred 451 4.5.0"]);
  });

  test("replies of many lines and in pieces keep their place", async () => {
    const { port, transcripts } = await peer({
      ...mode,
      on: (command, { socket }) => {
        if (command.startsWith("MAIL")) {
          socket.write("250-2.1.0 first\r\n25");
          setImmediate(() => socket.write("0 2.1.0 second\r\n"));
          return "";
        }
        return command.startsWith("RCPT")
          ? "250-2.1.5 one\r\n250-2.1.5 two\r\n250 2.1.5 three"
          : undefined;
      },
      onData: () => "250-2.0.0 queued\r\n250 2.0.0 as 7",
    });
    if (mode === LOCK_STEP) {
      const [outcome] = await relay(port).deliver(delivery(envelope(["a@x.example"])), NEVER);
      expect(outcome?.reply).toEqual({ code: 250, enhanced: "2.0.0", text: "queued as 7" });
      expect(transcripts[0]?.messages).toHaveLength(1);
    }
  });
});

/** Reacts to one command only. */
function at(verb: string, reaction: Reaction): NonNullable<Script["on"]> {
  return (command) => (command.startsWith(verb) ? reaction : undefined);
}
