import { describe, expect, test } from "bun:test";
import { SWALLOW_BYTES_MAX } from "../../src/edge/message.ts";
import { contentOf, KIB, startEdge, testDoor } from "./edge-fixture.ts";

const MAIL = "MAIL FROM:<a@example.com>";

describe("size", () => {
  const line = `${"x".repeat(998)}\r\n`;

  test("an oversize message is never stored, and the session goes on", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    client.send(line.repeat(1100));
    expect(await client.say(".")).toBe("552 5.3.4 Message size exceeds fixed limit");
    expect(it.door.envelopes).toHaveLength(0);
    expect(it.door.sinks).toMatchObject({ opened: 1, ended: 0, discarded: 1 });
    await client.begin();
    expect(await client.say("x\r\n.")).toStartWith("250");
  });

  test("the limit itself is still accepted, one octet more is not", async () => {
    await using it = await startEdge({ messageBytesMax: 3000 });
    const client = await it.dial();
    await client.begin();
    expect(await client.say(`${line.repeat(3)}.`)).toStartWith("250");
    await client.begin();
    expect(await client.say(`${line.repeat(2)}${"x".repeat(999)}\r\n.`)).toStartWith("552");
  });

  test("what is over the memory limit goes to a sink, byte for byte", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    const text = `Subject: large\r\n\r\n${`.${line}`.repeat(300)}`;
    expect(await client.say(`${text.replaceAll("\r\n.", "\r\n..")}.`)).toStartWith("250");
    expect(it.door.sinks).toMatchObject({ opened: 1, ended: 1, discarded: 0 });
    expect(await contentOf(it.door.envelopes[0])).toBe(text);
  });

  test("a message that never ends is given up, with the session", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    const block = Buffer.from(line.repeat(1000));
    for (let sent = 0; sent <= SWALLOW_BYTES_MAX + 2_000_000; sent += block.length)
      client.send(block);
    expect(await client.closed()).toBe("552 5.3.4 Message size exceeds fixed limit\r\n");
    client.socket.destroy();
    await it.event((event) => event.kind === "client" && event.what === "disconnected");
    expect(it.door.sinks).toMatchObject({ opened: 1, ended: 0, discarded: 1 });
  });

  test("what policies drop is answered, and leaves no sink behind", async () => {
    await using it = await startEdge({}, testDoor({ accept: () => Promise.resolve([]) }));
    const client = await it.dial();
    await client.begin();
    expect(await client.say(`\r\n${line.repeat(100)}.`)).toBe("250 2.0.0 Ok");
    expect(it.door.sinks).toMatchObject({ opened: 1, ended: 1, discarded: 1 });
  });

  test("messages that are kept stay apart, in one burst or in many", async () => {
    await using it = await startEdge();
    const clients = await Promise.all(Array.from({ length: 5 }, () => it.dial()));
    const expected: string[] = [];
    for (const [number, client] of clients.entries()) {
      await client.say("EHLO x");
      for (let count = 0; count < 40; count += 1) {
        const text = `${number}/${count}: ${"z".repeat(count * 50)}\r\n`;
        expected.push(text);
        client.send(`${MAIL}\r\nRCPT TO:<b@example.net>\r\nDATA\r\n${text}.\r\n`);
      }
      client.send("QUIT\r\n");
    }
    await Promise.all(clients.map((client) => client.closed()));
    const contents = await Promise.all(it.door.envelopes.map(contentOf));
    expect(contents.sort()).toEqual(expected.sort());
  });

  test("a header over the limit is refused, in memory and in a sink", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    const field = `X: ${"y".repeat(60)}\r\n`;
    for (const count of [600, 2000]) {
      await client.begin();
      expect(await client.say(`${field.repeat(count)}\r\nbody\r\n.`)).toBe(
        "552 5.3.4 Message header size exceeds fixed limit",
      );
    }
    await client.begin();
    expect(await client.say(`${field.repeat(400)}\r\n${line.repeat(30)}.`)).toStartWith("250");
    expect(it.door.sinks).toMatchObject({ opened: 1, discarded: 1 });
  });

  test("a line of 100 kB passes", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    const text = `Subject: x\r\n\r\n${"z".repeat(100 * KIB)}\r\n`;
    expect(await client.say(`${text}.`)).toStartWith("250");
    expect(await contentOf(it.door.envelopes[0])).toBe(text);
  });
});

describe("line ends and NUL", () => {
  const text = "Subject: x\r\n\r\na\nb\rc\r\n";

  test("bare CR and LF become CRLF", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    expect(await client.say(`${text}.`)).toStartWith("250");
    expect(await contentOf(it.door.envelopes[0])).toBe("Subject: x\r\n\r\na\r\nb\r\nc\r\n");
  });

  test("or are refused, as is a command that ends with LF alone", async () => {
    await using it = await startEdge({ bareLineEnds: "refuse" });
    const client = await it.dial();
    await client.begin();
    expect(await client.say(`${text}.`)).toBe("550 5.6.0 Message contains bare CR or LF");
    client.send("NOOP\n");
    expect(await client.reply()).toStartWith("500 5.5.2");
    expect(it.door.envelopes).toHaveLength(0);
  });

  test("NUL is content", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.begin();
    await client.say("a\0b\r\n.");
    expect(await contentOf(it.door.envelopes[0])).toBe("a\0b\r\n");
  });

  test("or is refused", async () => {
    await using it = await startEdge({ nulBytes: "refuse" });
    const client = await it.dial();
    await client.begin();
    expect(await client.say("a\0b\r\n.")).toBe("550 5.6.0 Message contains NUL bytes");
  });

  for (const variant of [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r\r\n",
    "\r\n. \r\n",
    "\r\n.\f\r\n",
    "\r\n\0.\r\n",
  ]) {
    test(`${JSON.stringify(variant)} smuggles nothing`, async () => {
      await using it = await startEdge();
      const client = await it.dial();
      await client.begin();
      const smuggled = `${MAIL}\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nhidden\r\n`;
      expect(await client.say(`seen${variant}${smuggled}.`)).toStartWith("250");
      expect(await client.say("NOOP")).toStartWith("250");
      expect(it.door.envelopes).toHaveLength(1);
      const content = await contentOf(it.door.envelopes[0]);
      expect(content).toContain("hidden");
      expect(content.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/u);
    });
  }
});
