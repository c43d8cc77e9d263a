import { afterEach, describe, expect, test } from "bun:test";
import type { Relay } from "../../src/relay/relay.ts";
import { DROP, type FakePeer, openPeer, type Reaction, type Script, STALL } from "./fake-peer.ts";
import { content, delivery, envelope, NEVER, relayTo, shown } from "./fixtures.ts";

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

const LOCK_STEP = { extensions: [] };

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

  test("a host that hangs up is not called again by every message", async () => {
    const bad = await peer({ greeting: DROP });
    const alive = await peer();
    const opened = relay([bad.port, alive.port]);
    for (let round = 0; round < 3; round += 1)
      await opened.deliver(delivery(envelope(["a@x.example"])), NEVER);
    expect(bad.transcripts).toHaveLength(1);
  });

  test.each(["MAIL", "RCPT", "end"])("a 354 to %s is no answer", async (where) => {
    const { port } = await peer({
      ...LOCK_STEP,
      on: at(where, "354 go ahead"),
      ...(where === "end" ? { onData: () => "354 go ahead" } : {}),
    });
    const opened = relay(port);
    const outcomes = await opened.deliver(
      delivery(envelope(["a@x.example", "b@x.example"])),
      NEVER,
    );
    expect(shown(outcomes)).toEqual(["deferred 451 4.5.0", "deferred 451 4.5.0"]);
    expect(opened.stats().open).toBe(0);
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
