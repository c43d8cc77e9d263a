import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { FrontDoor } from "../../src/edge/accept.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { reply } from "../../src/mail/reply.ts";
import { contentOf, startEdge, testDoor } from "./edge-fixture.ts";

const HELLO = "EHLO client.example";
const MAIL = "MAIL FROM:<a@example.com>";
const RCPT = "RCPT TO:<b@example.net>";

describe("a transaction", () => {
  test("becomes one envelope with everything the client said", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.say(HELLO);
    expect(
      await client.say(
        "MAIL FROM:<Sender@Example.COM> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=QQ+2B314",
      ),
    ).toBe("250 2.1.0 Ok");
    expect(
      await client.say("RCPT TO:<Bob@E.ORG> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+2Bx@e.org"),
    ).toBe("250 2.1.5 Ok");
    await client.say("RCPT TO:<bob@e.org> NOTIFY=NEVER");
    await client.say('RCPT TO:<"john @ doe"@xn--bcher-kva.example>');
    await client.say("RCPT TO:<Bob@E.ORG>");
    await client.say("RCPT TO:<@relay.example:z_z.@[192.0.2.1]>");
    expect(await client.say("DATA")).toBe("354 End data with <CR><LF>.<CR><LF>");
    expect(await client.say("Subject: x\r\n\r\n..dot\r\n\u00e9\r\n.")).toBe(
      "250 2.0.0 Ok: queued as ID1",
    );
    const [envelope] = it.door.envelopes;
    expect(envelope).toMatchObject({
      sender: "Sender@Example.COM",
      recipients: [
        {
          index: 0,
          address: "Bob@E.ORG",
          notify: ["SUCCESS", "DELAY"],
          orcpt: "rfc822;bob+x@e.org",
        },
        { index: 1, address: "bob@e.org", notify: ["NEVER"] },
        { index: 2, address: '"john @ doe"@xn--bcher-kva.example' },
        { index: 3, address: "z_z.@[192.0.2.1]" },
      ],
      client: { ip: "127.0.0.1", host: "localhost", name: "client.example", protocol: "ESMTP" },
      receiver: "mx.example.org",
      dsn: { ret: "HDRS", envid: "QQ+314" },
      eightBit: true,
      smtpUtf8: false,
    });
    expect(envelope?.recipients).toHaveLength(4);
    expect(await contentOf(envelope)).toBe("Subject: x\r\n\r\n.dot\r\n\xc3\xa9\r\n");
    expect(await client.say("QUIT")).toBe("221 2.0.0 Bye");
    await it.event((event) => event.kind === "client" && event.what === "disconnected");
  });

  test("may be followed by another one on the same connection", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    for (const id of ["ID1", "ID2", "ID3"]) {
      await client.begin();
      expect(await client.say("x\r\n.")).toEndWith(id);
    }
    expect(it.door.envelopes.map((envelope) => envelope.recipients.length)).toEqual([1, 1, 1]);
  });

  test("may come whole in one segment, with the end of input behind it", async () => {
    const door = testDoor();
    const accept: FrontDoor["accept"] = async (envelope) => {
      // By then the end of input has long been read.
      await Bun.sleep(20);
      return door.accept(envelope);
    };
    await using it = await startEdge({}, { ...door, accept });
    const client = await it.dial();
    const one = `${MAIL}\r\n${RCPT}\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.\r\n`;
    client.socket.end(`${HELLO}\r\n${one}${one}RSET\r\nQUIT\r\n`);
    const said = await client.closed();
    expect(said.match(/^\d{3} /gmu)?.map((code) => code.trim())).toEqual(
      "250 250 250 354 250 250 250 354 250 250 221".split(" "),
    );
    expect(it.door.envelopes).toHaveLength(2);
  });

  test("keeps UTF-8 addresses when the client asks for SMTPUTF8", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.say(HELLO);
    expect(await client.say("MAIL FROM:<\u00e9@b\u00fccher.example>")).toStartWith("553 5.6.7");
    expect(await client.say("MAIL FROM:<\u00e9@b\u00fccher.example> SMTPUTF8")).toStartWith("250");
    await client.say("RCPT TO:<\u00fc@x.example>");
    await client.say("DATA");
    await client.say(".");
    expect(it.door.envelopes[0]).toMatchObject({
      sender: "\u00e9@b\u00fccher.example",
      recipients: [{ address: "\u00fc@x.example" }],
      client: { protocol: "UTF8SMTP" },
      smtpUtf8: true,
    });
    await client.say(MAIL);
    expect(await client.say("RCPT TO:<\u00fc@x.example>")).toStartWith("553 5.6.7");
  });
});

describe("what is offered", () => {
  test("says what it means, and no STARTTLS without a certificate", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    expect(await client.say(HELLO)).toBe(
      "250-mx.example.org|250-PIPELINING|250-SIZE 1048576|250-ENHANCEDSTATUSCODES|250-8BITMIME|250-DSN|250 SMTPUTF8",
    );
    expect(await client.say("STARTTLS")).toStartWith("502 5.5.1");
    expect(await client.say("HELO old.example")).toBe("250 mx.example.org");
  });

  test("greets with the host name", async () => {
    await using it = await startEdge();
    const socket = connect(it.port, "127.0.0.1");
    const banner = await new Promise((resolve) => socket.once("data", resolve));
    expect(String(banner)).toBe("220 mx.example.org ESMTP slimta-queue\r\n");
    socket.destroy();
  });
});

describe("recipients", () => {
  test("that are repeated are kept once, be they few or many", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.say("EHLO x");
    await client.say(MAIL);
    const addresses = Array.from({ length: 20 }, (_, index) => `r${index}@example.org`);
    for (const address of [...addresses, ...addresses]) {
      expect(await client.say(`RCPT TO:<${address}>`)).toBe("250 2.1.5 Ok");
    }
    await client.say("DATA");
    await client.say(".");
    expect(it.door.envelopes[0]?.recipients).toEqual(
      addresses.map((address, index) => ({ index, address })),
    );
  });
});

describe("refusals", () => {
  const cases: readonly (readonly [lines: readonly string[], expected: string])[] = [
    [[MAIL], "503 5.5.1"],
    [[HELLO, RCPT], "503 5.5.1"],
    [[HELLO, "DATA"], "503 5.5.1"],
    [[HELLO, MAIL, MAIL], "503 5.5.1"],
    [[HELLO, MAIL, "DATA"], "554 5.5.1"],
    [[HELLO, MAIL, RCPT, "DATA now"], "501 5.5.4"],
    [[HELLO, MAIL, "RSET", RCPT], "503 5.5.1"],
    [[HELLO, MAIL, HELLO, RCPT], "503 5.5.1"],
    [[HELLO, `${MAIL} XYZZY`], "555 5.5.4"],
    [[HELLO, `${MAIL} FOO=bar`], "555 5.5.4"],
    [[HELLO, `${MAIL} AUTH=<>`], "555 5.5.4"],
    [[HELLO, `${MAIL} BODY=BINARYMIME`], "501 5.5.4"],
    [[HELLO, `${MAIL} SIZE=1 SIZE=1`], "501 5.5.4"],
    [[HELLO, `${MAIL} SIZE=x`], "501 5.5.4"],
    [[HELLO, `${MAIL} SIZE=1048577`], "552 5.3.4"],
    [[HELLO, `${MAIL} SIZE=99999999999999999999`], "552 5.3.4"],
    [[HELLO, `${MAIL} RET=BODY`], "501 5.5.4"],
    [[HELLO, `${MAIL} ENVID=a+0D+0Ab`], "501 5.5.4"],
    [[HELLO, `${MAIL} ENVID=a+zz`], "501 5.5.4"],
    [[HELLO, MAIL, `${RCPT} FOO=bar`], "555 5.5.4"],
    [[HELLO, MAIL, `${RCPT} NOTIFY=NEVER,DELAY`], "501 5.5.4"],
    [[HELLO, MAIL, `${RCPT} NOTIFY=SOMETIMES`], "501 5.5.4"],
    [[HELLO, MAIL, `${RCPT} ORCPT=nonsense`], "501 5.5.4"],
    [[HELLO, "MAIL FROM:<a@b@c>"], "501 5.1.7"],
    [[HELLO, "MAIL FROM:<a@example.com"], "501 5.1.7"],
    [[HELLO, "MAIL <a@example.com>"], "501 5.5.4"],
    [[HELLO, MAIL, "RCPT TO:<>"], "501 5.1.3"],
    [[HELLO, MAIL, "RCPT TO:<nobody>"], "501 5.1.3"],
    [[HELLO, MAIL, `RCPT TO:<${"x".repeat(256)}@example.org>`], "501 5.1.3"],
    [["EHLO"], "501 5.5.4"],
    [[HELLO, "WIZ"], "500 5.5.2"],
    [[HELLO, "SHELL ls"], "500 5.5.2"],
    [[HELLO, "KILL 1"], "500 5.5.2"],
    [[HELLO, ""], "500 5.5.2"],
    [[HELLO, "NO\u0000OP"], "500 5.5.2"],
    [[HELLO, "NOOP a\rb"], "500 5.5.2"],
    [[HELLO, `NOOP ${"x".repeat(5000)}`], "500 5.5.2"],
    [["EXPN list"], "502 5.5.1"],
    [["ETRN example.org"], "502 5.5.1"],
    [["BDAT 100 LAST"], "502 5.5.1"],
    [["AUTH PLAIN AGEAYg=="], "502 5.5.1"],
    [["VRFY someone"], "252 2."],
    [["HELP"], "214 2.0.0"],
    [["NOOP with words"], "250 2.0.0"],
    [[HELLO, "MAIL FROM:<>", "RCPT TO:<Postmaster>"], "250 2.1.5"],
    [[HELLO, "mail from: a@example.com"], "250 2.1.0"],
  ];
  for (const [lines, expected] of cases) {
    test(`${lines.join(" / ").slice(0, 70)} -> ${expected}`, async () => {
      await using it = await startEdge();
      const client = await it.dial();
      let last = "";
      for (const line of lines) last = await client.say(line);
      expect(last).toStartWith(expected);
      // Exactly one enhanced code.
      expect(last).not.toMatch(/\d\.\d\.\d \d\.\d\.\d/u);
      client.socket.destroy();
    });
  }

  test("a domain's own postmaster is completed, everything else kept", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    for (const line of [HELLO, "MAIL FROM:<>", "RCPT TO:<postmaster>", "DATA", "."])
      await client.say(line);
    expect(it.door.envelopes[0]).toMatchObject({
      sender: "",
      recipients: [{ address: "postmaster@mx.example.org" }],
    });
  });

  test("only trusted networks may relay", async () => {
    await using it = await startEdge({ trustedNetworks: ["192.0.2.0/24", "2001:db8::/32"] });
    const client = await it.dial();
    await client.say(HELLO);
    await client.say(MAIL);
    expect(await client.say(RCPT)).toBe("554 5.7.1 <b@example.net>: Relay access denied");
    expect(await client.say("DATA")).toStartWith("554 5.5.1");
    const event = await it.event(({ kind }) => kind === "refused");
    expect(event).toMatchObject({
      command: "RCPT",
      sender: "a@example.com",
      recipient: "b@example.net",
      client: { ip: "127.0.0.1", name: "client.example" },
      reply: { code: 554, enhanced: "5.7.1" },
    });
  });

  test("mail is deferred while it could not be stored", async () => {
    let reason: string | undefined = "Disk full\r\n250 Ok";
    await using it = await startEdge({}, testDoor({ refusal: () => reason }));
    const client = await it.dial();
    await client.say(HELLO);
    expect(await client.say(MAIL)).toBe("452 4.3.1 Disk full 250 Ok");
    reason = undefined;
    expect(await client.say(MAIL)).toStartWith("250");
  });

  test("10,000 recipients: the first thousand are taken, in order", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.say(HELLO);
    await client.say(MAIL);
    const addresses = Array.from({ length: 10_000 }, (_, index) => `r${index}@example.org`);
    client.send(addresses.map((address) => `RCPT TO:<${address}>\r\n`).join(""));
    const replies: string[] = [];
    for (const _ of addresses) replies.push(await client.reply());
    expect(replies.filter((text) => text.startsWith("250"))).toHaveLength(1000);
    expect(new Set(replies.slice(1000))).toEqual(new Set(["452 4.5.3 Too many recipients"]));
    await client.say("DATA");
    await client.say(".");
    expect(it.door.envelopes[0]?.recipients.map(({ address }) => address)).toEqual(
      addresses.slice(0, 1000),
    );
  });

  test("garbage ends the session after a while, refused recipients do not", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    await client.say(HELLO);
    for (let count = 0; count < 50; count += 1) await client.say("RCPT TO:<nobody>");
    client.send("XYZZY\r\n".repeat(20));
    expect(await client.closed()).toEndWith("421 4.7.0 Too many errors\r\n");
  });

  test("a browser is sent away at once", async () => {
    await using it = await startEdge();
    const client = await it.dial();
    client.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n");
    expect(await client.closed()).toBe("421 4.7.0 This is not a web server\r\n");
  });
});

describe("what the door says", () => {
  const failures: readonly (readonly [name: string, error: Error, expected: string])[] = [
    ["a QueueError", new QueueError("/secret/path"), "451 4.3.0 Error queuing message"],
    [
      "a QueueError with a reply",
      new QueueError("x", { reply: reply(550, "5.4.6", "Routing loop\r\nhere") }),
      "550 5.4.6 Routing loop here",
    ],
    ["any other error", new TypeError("/secret/path"), "451 4.3.0 Error queuing message"],
  ];
  for (const [name, error, expected] of failures) {
    test(`${name} is answered, and the session goes on`, async () => {
      await using it = await startEdge({}, testDoor({ accept: () => Promise.reject(error) }));
      const client = await it.dial();
      await client.begin();
      expect(await client.say("x\r\n.")).toBe(expected);
      expect(await client.say(MAIL)).toStartWith("250");
      const isTold = it.events.some(
        (event) => event.kind === "lifecycle" && event.what === "error",
      );
      expect(isTold).toBe(error instanceof TypeError);
    });
  }
});
