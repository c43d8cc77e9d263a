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

describe("failover", () => {
  test.each<[string, Script]>([
    ["4xx greeting", { greeting: "421 4.3.2 busy" }],
    ["5xx greeting", { greeting: "554 5.7.1 no service for you" }],
    ["4xx to EHLO", { on: at("EHLO", "450 4.7.0 later") }],
    ["4xx to MAIL", { on: at("MAIL", "451 4.3.0 later") }],
    ["a drop at the greeting", { greeting: DROP }],
    ["a drop at MAIL", { on: at("MAIL", DROP) }],
    ["garbage", { greeting: "hello" }],
  ])("goes on to the next host after %s", async (_name, script) => {
    const first = await peer({ ...LOCK_STEP, ...script });
    const second = await peer();
    const [outcome] = await relay([first.port, second.port]).deliver(
      delivery(envelope(["a@x.example"])),
      NEVER,
    );
    expect(outcome).toMatchObject({ kind: "delivered", remote: { port: second.port } });
  });

  test("does not go on when a recipient or the message was answered", async () => {
    for (const script of [
      { on: at("RCPT", "450 4.7.1 greylisted") },
      { on: at("MAIL", "550 5.7.1 sender refused") },
      { onData: () => "451 4.3.0 disk full" },
      { onData: () => DROP },
    ] satisfies Script[]) {
      const first = await peer({ ...LOCK_STEP, ...script });
      const second = await peer();
      await relay([first.port, second.port]).deliver(delivery(envelope(["a@x.example"])), NEVER);
      expect(second.transcripts).toEqual([]);
    }
  });

  test("a greeting of 5xx defers when there is no other host", async () => {
    const { port } = await peer({ greeting: "554 5.7.1 go away" });
    const [outcome] = await relay(port).deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(outcome).toMatchObject({ kind: "deferred", reply: { code: 451, enhanced: "4.7.1" } });
    expect(outcome?.reply.text).toContain("554 5.7.1 go away");
  });

  test("a dead host is left alone for a while, and asked when there is no other", async () => {
    const dead = await openPeer();
    await dead.close();
    const alive = await peer();
    const opened = relay([dead.port, alive.port]);
    for (let round = 0; round < 2; round += 1) {
      const [outcome] = await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
      expect(outcome?.remote?.port).toBe(alive.port);
    }
    const lonely = relay(dead.port);
    for (let round = 0; round < 2; round += 1) {
      const [outcome] = await lonely.deliver(delivery(envelope(["a@x.example"])), NEVER);
      expect(outcome).toMatchObject({ kind: "deferred", reply: { code: 451, enhanced: "4.4.1" } });
      expect(outcome?.reply.text).toContain("Connection refused");
      expect(outcome?.remote).toBeUndefined();
    }
  });

  test("HELO is said to a peer that does not know EHLO", async () => {
    const { port, transcripts } = await peer({ on: at("EHLO", "502 5.5.2 what?") });
    const [outcome] = await relay(port).deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(outcome?.kind).toBe("delivered");
    expect(transcripts[0]?.commands.slice(0, 2)).toEqual([
      "EHLO relay.example",
      "HELO relay.example",
    ]);
  });
});

describe("reuse", () => {
  test("one connection carries message after message, up to its limit", async () => {
    const { port, transcripts } = await peer();
    const opened = relay(port, { messagesPerConnectionMax: 2 });
    const uses: unknown[] = [];
    for (let round = 0; round < 3; round += 1) {
      const [outcome] = await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
      uses.push(outcome?.remote?.connectionUse);
    }
    expect(uses).toEqual([1, 2, 1]);
    expect(transcripts.map(({ messages }) => messages.length)).toEqual([2, 1]);
  });

  test("a connection that died while idle costs nothing", async () => {
    let sessions = 0;
    const { port, transcripts } = await peer({
      on: (command, { commands }) => {
        if (command.startsWith("EHLO")) sessions += 1;
        const isSecond = commands.filter((one) => one.startsWith("MAIL")).length === 2;
        return isSecond && sessions === 1 ? DROP : undefined;
      },
    });
    const opened = relay(port);
    for (let round = 0; round < 2; round += 1) {
      const outcomes = await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
      expect(shown(outcomes)).toEqual(["delivered 250 2.0.0"]);
    }
    expect(transcripts.map(({ messages }) => messages.length)).toEqual([1, 1]);
  });

  test("more recipients than a transaction takes go in further ones", async () => {
    const { port, transcripts } = await peer();
    const to = Array.from({ length: 250 }, (_, index) => `user${index}@x.example`);
    const outcomes = await relay(port).deliver(delivery(envelope(to)), NEVER);
    expect(outcomes.map(({ recipient }) => recipient)).toEqual(to.map((_, index) => index * 2 + 1));
    expect(outcomes.every(({ kind }) => kind === "delivered")).toBe(true);
    expect(transcripts[0]?.messages).toHaveLength(3);
  });

  test("close says goodbye to idle peers", async () => {
    const { port, transcripts } = await peer();
    const opened = relay(port);
    await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(opened.stats()).toEqual({ open: 1, idle: 1 });
    await opened.close();
    await opened.close();
    expect(transcripts[0]?.commands.at(-1)).toBe("QUIT");
    expect(opened.stats()).toEqual({ open: 0, idle: 0 });
  });
});

describe("ending early", () => {
  test("an aborted signal ends an attempt that waits", async () => {
    const abort = new AbortController();
    const { port } = await peer({
      on: (command) => {
        if (!command.startsWith("DATA")) return undefined;
        abort.abort();
        return STALL;
      },
    });
    const outcomes = await relay(port).deliver(delivery(envelope(["a@x.example"])), abort.signal);
    expect(shown(outcomes)).toEqual(["deferred 451 4.4.2"]);
  });

  test("with a signal that is aborted nobody is called", async () => {
    const { port, transcripts } = await peer();
    const outcomes = await relay(port).deliver(
      delivery(envelope(["a@x.example", "b@x.example"])),
      AbortSignal.abort(),
    );
    expect(shown(outcomes)).toEqual(["deferred 451 4.4.2", "deferred 451 4.4.2"]);
    expect(transcripts).toEqual([]);
  });

  test("a refusal in the middle of the data is taken, and the session ends", async () => {
    const { port } = await peer({
      onDataChunk: () => "552 5.3.4 too much",
    });
    const big = content(new Uint8Array(8 * 1024 * 1024).fill(0x61));
    const opened = relay(port);
    const outcomes = await opened.deliver(
      delivery(envelope(["a@x.example"], { content: big })),
      NEVER,
    );
    expect(shown(outcomes)).toEqual(["rejected 552 5.3.4"]);
    expect(opened.stats().open).toBe(0);
  });
});
