import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { FrontDoor } from "../../src/edge/accept.ts";
import type { ClientEvent, Event } from "../../src/observe/events.ts";
import { dial, dialogOver, startEdge, testDoor } from "./edge-fixture.ts";

const isLost = (event: Event): event is ClientEvent =>
  event.kind === "client" && event.what === "lost";

const line = `${"x".repeat(998)}\r\n`;

describe("a client that vanishes", () => {
  const steps = [
    "",
    "EHLO x\r\n",
    "EHLO x\r\nMAIL FROM:<a@b.example>\r\n",
    "EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n",
  ];
  const data = steps.at(-1) ?? "";
  const cases = [
    ...steps,
    `${data}half a li`,
    `${data}${line}.\r`,
    `${data}${line.repeat(100)}\r\n.`,
  ];
  for (const how of ["reset", "end of input"] as const) {
    for (const said of cases) {
      test(`by ${how} after ${said.length} octets leaves nothing`, async () => {
        await using it = await startEdge();
        const client = await it.dial();
        await new Promise<void>((resolve) => {
          client.socket.write(said, () => resolve());
        });
        if (how === "reset") client.socket.resetAndDestroy();
        else client.socket.end();
        expect(await it.event(isLost)).toMatchObject({ ip: "127.0.0.1" });
        expect(it.door.envelopes).toHaveLength(0);
        while (it.door.sinks.discarded < it.door.sinks.opened) await Bun.sleep(0);
        expect(it.edge.connections()).toBe(0);
      });
    }
  }

  test("while its message is stored changes nothing for the message, nor for its sink", async () => {
    const stored = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const door = testDoor();
    const accept: FrontDoor["accept"] = async (envelope) => {
      asked.resolve();
      await stored.promise;
      return door.accept(envelope);
    };
    await using it = await startEdge({}, { ...door, accept });
    const client = await it.dial();
    await client.begin();
    client.send(`\r\n${line.repeat(100)}.\r\n`);
    await asked.promise;
    client.socket.resetAndDestroy();
    await it.event(isLost);
    expect(it.edge.connections()).toBe(0);
    stored.resolve();
    await Bun.sleep(0);
    expect(door.envelopes).toHaveLength(1);
    expect(door.sinks).toMatchObject({ opened: 1, ended: 1, discarded: 0 });
  });

  test("while its body is being completed is not served: it will come again", async () => {
    const asked = Promise.withResolvers<void>();
    const completed = Promise.withResolvers<void>();
    const door = testDoor();
    const openBody = async () => {
      const sink = await door.openBody();
      const end = async () => {
        asked.resolve();
        await completed.promise;
        return sink.end();
      };
      return { ...sink, end };
    };
    await using it = await startEdge({}, { ...door, openBody });
    const client = await it.dial();
    await client.begin();
    client.send(`\r\n${line.repeat(100)}.\r\n`);
    await asked.promise;
    client.socket.resetAndDestroy();
    await it.event(isLost);
    completed.resolve();
    while (door.sinks.discarded + door.envelopes.length === 0) await Bun.sleep(0);
    expect(door.sinks).toMatchObject({ ended: 1, discarded: 1 });
    expect(door.envelopes).toHaveLength(0);
  });

  test("while the sink is being opened leaves no sink behind", async () => {
    const asked = Promise.withResolvers<void>();
    const opened = Promise.withResolvers<void>();
    const door = testDoor();
    const openBody = async () => {
      asked.resolve();
      await opened.promise;
      return door.openBody();
    };
    await using it = await startEdge({}, { ...door, openBody });
    const client = await it.dial();
    await client.begin();
    client.send(line.repeat(100));
    await asked.promise;
    client.socket.resetAndDestroy();
    await it.event(isLost);
    opened.resolve();
    while (door.sinks.discarded === 0) await Promise.resolve();
    expect(door.sinks).toMatchObject({ opened: 1, ended: 0, discarded: 1, written: 0 });
  });
});

describe("a sink that fails", () => {
  test("defers the message; the session goes on", async () => {
    const openBody = () => Promise.reject(new Error("/secret: ENOSPC"));
    await using it = await startEdge({}, testDoor({ openBody }));
    const client = await it.dial();
    await client.begin();
    client.send("x\r\n".repeat(50_000));
    expect(await client.say(".")).toBe("451 4.3.0 Error queuing message");
    await client.begin();
    expect(await client.say("small\r\n.")).toStartWith("250");
  });

  test("slow or not, holds the client back instead of filling memory", async () => {
    const door = testDoor();
    const first = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    let waiting = 0;
    const openBody = async () => {
      const sink = await door.openBody();
      const write = async (chunk: Uint8Array) => {
        waiting += 1;
        first.resolve();
        await release.promise;
        await sink.write(chunk);
      };
      return { ...sink, write };
    };
    await using it = await startEdge(
      { messageBytesMax: 100_000_000 },
      { ...door, envelopes: door.envelopes, openBody },
    );
    const client = await it.dial();
    await client.begin();
    const text = `Subject: x\r\n\r\n${line.repeat(40_000)}`;
    client.send(text);
    await first.promise;
    expect(waiting).toBe(1);
    // The kernel takes some of it, the client keeps the rest.
    expect(client.socket.writableLength).toBeGreaterThan(0);
    release.resolve();
    expect(await client.say(".")).toStartWith("250");
    expect(door.sinks.written).toBe(text.length);
  });
});

describe("limits", () => {
  test("connections in all, and of one address", async () => {
    const strangers = { trustedNetworks: [] };
    for (const limit of [{ connectionsMax: 2 }, { connectionsPerIpMax: 2 }]) {
      await using it = await startEdge({ ...strangers, ...limit });
      const [first] = [await it.dial(), await it.dial()];
      const third = dialogOver(connect(it.port, "127.0.0.1"));
      expect(await third.closed()).toStartWith("421 4.7.0 Too many connections");
      third.socket.destroy();
      await first.say("QUIT");
      first.socket.destroy();
      const isThirdGone = () =>
        it.events.filter((event) => event.kind === "client" && event.what === "disconnected")
          .length === 2;
      await it.event(isThirdGone);
      const fourth = await it.dial();
      expect(await fourth.say("NOOP")).toStartWith("250");
    }
  });

  test("a trusted client may have as many as there are", async () => {
    await using it = await startEdge({ connectionsPerIpMax: 2, connectionsMax: 4 });
    const clients = [await it.dial(), await it.dial(), await it.dial(), await it.dial()];
    for (const client of clients) expect(await client.say("NOOP")).toStartWith("250");
    const fifth = dialogOver(connect(it.port, "127.0.0.1"));
    expect(await fifth.closed()).toStartWith("421 4.7.0 Too many connections, try again");
    fifth.socket.destroy();
  });

  test("idle clients are sent away, between commands and within data", async () => {
    for (const options of [{ commandTimeoutMs: 50 }, { dataTimeoutMs: 50 }]) {
      await using it = await startEdge(options);
      const client = await it.dial();
      if ("dataTimeoutMs" in options) await client.begin();
      expect(await client.closed()).toBe("421 4.4.2 Idle for too long\r\n");
      client.socket.destroy();
      await it.event((event) => event.kind === "client" && event.what === "timeout");
      expect(it.door.envelopes).toHaveLength(0);
    }
  });

  test("a client is never too slow while it waits for us", async () => {
    const stored = Promise.withResolvers<readonly string[]>();
    await using it = await startEdge(
      { commandTimeoutMs: 20, dataTimeoutMs: 20 },
      testDoor({ accept: () => stored.promise }),
    );
    const client = await it.dial();
    await client.begin();
    client.send("x\r\n.\r\n");
    setTimeout(() => stored.resolve(["LATE"]), 100);
    expect(await client.reply()).toBe("250 2.0.0 Ok: queued as LATE");
  });

  test("clients that are not trusted wait for the greeting, and must not speak before it", async () => {
    await using it = await startEdge({ greetingPauseMs: 100, trustedNetworks: [] });
    const before = Date.now();
    const patient = await dial(it.port);
    expect(Date.now() - before).toBeGreaterThanOrEqual(95);
    expect(await patient.say("NOOP")).toStartWith("250");
    const early = dialogOver(connect(it.port, "127.0.0.1"));
    early.send("EHLO early\r\n");
    expect(await early.closed()).toBe("421 4.7.0 Spoke before the greeting\r\n");
  });
});

describe("drain", () => {
  test("sends idle clients away, lets a message finish, and takes no new ones", async () => {
    const stored = Promise.withResolvers<readonly string[]>();
    await using it = await startEdge({}, testDoor({ accept: () => stored.promise }));
    const [idle, busy, storing] = [await it.dial(), await it.dial(), await it.dial()];
    await busy.begin();
    await storing.begin();
    storing.send("x\r\n.\r\n");
    const drained = it.edge.drain(10_000);
    expect(await idle.closed()).toBe("421 4.3.2 Service is stopping, try again later\r\n");
    const refused = dialogOver(connect(it.port, "127.0.0.1"));
    expect(await refused.closed()).toBe("");
    busy.send("late\r\n.\r\n");
    stored.resolve(["KEPT"]);
    for (const client of [busy, storing]) {
      expect(await client.closed()).toMatch(/^250 2\.0\.0 Ok: queued as KEPT\r\n421 4\.3\.2 /u);
    }
    for (const client of [idle, busy, storing]) client.socket.destroy();
    await drained;
    expect(it.edge.connections()).toBe(0);
  });

  test("cuts off what is left after the grace", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    client.send("never ends\r\n");
    await it.edge.drain(50);
    await client.closed();
    expect(it.edge.connections()).toBe(0);
    expect(it.door.envelopes).toHaveLength(0);
  });
});

test("an address that is taken is an error of opening", async () => {
  await using it = await startEdge();
  const listen = { host: "127.0.0.1", port: it.port };
  await expect(startEdge({ listen })).rejects.toThrow();
});

test("a listener for both families shows IPv4 clients as such", async () => {
  await using it = await startEdge({ listen: { host: "::", port: 0 } });
  const client = await it.dial();
  await client.begin();
  expect(await client.say("x\r\n.")).toStartWith("250");
  expect(it.door.envelopes[0]?.client).toMatchObject({ ip: "127.0.0.1", host: "localhost" });
});
