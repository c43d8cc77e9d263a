import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { seeded } from "../../src/cli/sink/faults.ts";
import { startChild } from "../support/child.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type SmtpDialog, smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { recorder, run } from "./help.ts";

interface RunningSink extends AsyncDisposable {
  readonly port: number;
  dial(): Promise<SmtpDialog>;
  text(): string;
  /** Resolves with the exit code once it ended. */
  readonly ended: Promise<number>;
  stop(): Promise<number>;
}

async function startSink(...flags: readonly string[]): Promise<RunningSink> {
  const out = recorder();
  const stop = new AbortController();
  const { promise: port, resolve } = Promise.withResolvers<number>();
  const stdout = {
    ...out,
    async write(data: string | Uint8Array) {
      await out.write(data);
      const listening = /^listening on 127\.0\.0\.1:(\d+)\n/u.exec(out.text());
      if (listening) resolve(Number(listening[1]));
    },
  };
  const argv = ["sink", "--listen", "127.0.0.1:0", ...flags];
  const ran = run(argv, { stdout, stopSignal: () => stop.signal });
  const ended = ran.then(({ code }) => code);
  const failed = ran.then(({ err }) => Promise.reject(new Error(err || "the sink ended")));
  const bound = await Promise.race([port, failed]);
  failed.catch(() => undefined);
  const end = () => {
    stop.abort();
    return ended;
  };
  return {
    port: bound,
    dial: () => smtpDialog(bound),
    text: out.text,
    ended,
    stop: end,
    async [Symbol.asyncDispose]() {
      await end();
    },
  };
}

async function hello(sink: RunningSink): Promise<SmtpDialog> {
  const dialog = await sink.dial();
  expect((await dialog.say("EHLO me")).code).toBe(250);
  return dialog;
}

const codes = (replies: readonly { code: number }[]) => replies.map(({ code }) => code);

describe("a session", () => {
  test("EHLO offers what is understood", async () => {
    await using sink = await startSink();
    await using dialog = await sink.dial();
    expect(dialog.greeting.code).toBe(220);
    const { lines } = await dialog.say("EHLO me");
    expect(lines.slice(1)).toEqual([
      "PIPELINING",
      "SIZE 104857600",
      "8BITMIME",
      "SMTPUTF8",
      "DSN",
      "ENHANCEDSTATUSCODES",
    ]);
    const mail = "MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x";
    expect((await dialog.say(mail)).code).toBe(250);
    const rcpt = "rcpt to:<\u00e9 x@y> NOTIFY=NEVER";
    expect((await dialog.say(rcpt)).code).toBe(501);
    expect((await dialog.say("rcpt TO:<@r:x@y> NOTIFY=NEVER ORCPT=rfc822;x@y")).code).toBe(250);
    expect((await dialog.say("QUIT")).code).toBe(221);
    await dialog.closed;
  });

  const WRONG: readonly (readonly [string, number])[] = [
    ["MAIL FROM:<a@b>", 503],
    ["EHLO", 501],
    ["HELO x", 250],
    ["RCPT TO:<a@b>", 503],
    ["DATA", 503],
    ["MAIL FROM:a@b", 501],
    ["MAIL TO:<a@b>", 501],
    ["MAIL FROM:<a@b> AUTH=x", 555],
    ["MAIL FROM:<a@b> SIZE=999999999999", 552],
    ["MAIL FROM:<a@b> SIZE=abc", 552],
    ["MAIL FROM: <>", 250],
    ["MAIL FROM:<a@b>", 503],
    ["RCPT TO:<>", 501],
    ["RCPT TO:<a@b> X=y", 555],
    ["DATA", 503],
    ['RCPT TO:<"a b>"@c>', 250],
    ["RCPT TO:<a b@c>", 501],
    ["RSET", 250],
    ["RCPT TO:<a@b>", 503],
    ["NOOP", 250],
    ["VRFY x", 252],
    ["constructor", 500],
    ["STARTTLS", 500],
    ["", 500],
  ];
  test("commands out of order and with wrong arguments", async () => {
    await using sink = await startSink();
    await using dialog = await sink.dial();
    for (const [line, code] of WRONG)
      expect([line, (await dialog.say(line)).code]).toEqual([line, code]);
  });

  test("a line without end, and errors without end, end the session", async () => {
    await using sink = await startSink();
    await using endless = await sink.dial();
    endless.write("x".repeat(5000));
    expect((await endless.reply()).code).toBe(500);
    await endless.closed;
    await using clumsy = await sink.dial();
    clumsy.write("X\r\n".repeat(200));
    await clumsy.closed;
  });

  test("everything in one packet, several messages, bytes kept as they are", async () => {
    await using dir = tempDir("sink");
    await using sink = await startSink("--save", dir.join("mail"));
    await using dialog = await sink.dial();
    const body = "Subject: \u00e9\r\n\r\n..dot\r\n\u0000\u00ff\nbare\rx\r\n";
    const one = `MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n${body.replace("..dot", "...dot")}.\r\n`;
    dialog.write(`EHLO x\r\n${one}MAIL FROM:<>\r\nRCPT TO:<e@f>\r\nDATA\r\n.\r\nQUIT\r\n`);
    await dialog.closed;
    expect(readdirSync(dir.join("mail")).sort()).toEqual(["000001.eml", "000002.eml"]);
    expect(readFileSync(dir.join("mail", "000001.eml"), "latin1")).toBe(body);
    expect(readFileSync(dir.join("mail", "000002.eml"), "latin1")).toBe("");
    await sink.stop();
    expect(sink.text()).toEndWith(`received 2 messages, 2 recipients, ${body.length} bytes\n`);
  });

  test("a client that vanishes leaves nothing", async () => {
    await using dir = tempDir("sink");
    await using sink = await startSink("--save", dir.path);
    const dialog = await hello(sink);
    for (const line of ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"]) await dialog.say(line);
    dialog.write("half a message".repeat(1000));
    await until("content on disk", () => readdirSync(dir.path).length > 0);
    dialog.drop();
    await dialog.closed;
    expect(await sink.stop()).toBe(0);
    expect(sink.text()).toContain("received 0 messages, 0 recipients, 0 bytes");
    expect(readdirSync(dir.path)).toEqual([]);
  });
});

describe("what is printed", () => {
  const MESSAGE = "From: x\r\nSubject: good\r\n news\r\n\r\nfirst\r\n.second\r\n";
  async function printed(...flags: readonly string[]): Promise<string> {
    await using sink = await startSink(...flags);
    await using dialog = await hello(sink);
    expect(codes(await dialog.mail("a@b", ["c@d", "e@f"], MESSAGE)).at(-1)).toBe(250);
    await sink.stop();
    return sink.text().slice(sink.text().indexOf("\n") + 1);
  }
  const bytes = MESSAGE.length;
  const line = `1: from=<a@b> to=<c@d>,<e@f> size=${bytes} subject="good news"\n`;
  const end = `received 1 messages, 2 recipients, ${bytes} bytes\n`;

  test("a line, the header, all of it, or only the count", async () => {
    expect(await printed()).toBe(line + end);
    expect(await printed("--print=count")).toBe(end);
    expect(await printed("--print=headers")).toBe(`${line}From: x\nSubject: good\n news\n\n${end}`);
    expect(await printed("--print", "full")).toBe(
      `${line}${MESSAGE.replaceAll("\r\n", "\n")}\n${end}`,
    );
  });
});

describe("faults", () => {
  test("each kind at each place", async () => {
    const stages = ["mail", "rcpt", "data", "dot"] as const;
    for (const [index, stage] of stages.entries()) {
      for (const [fault, code] of [
        ["defer", 451],
        ["reject", 554],
      ] as const) {
        await using sink = await startSink(`--${fault}=100%`, "--at", stage);
        await using dialog = await hello(sink);
        const lines = ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "x\r\n."];
        const said: number[] = [];
        for (const line of lines.slice(0, index + 1)) said.push((await dialog.say(line)).code);
        expect([stage, said.at(-1)]).toEqual([stage, code]);
        expect((await dialog.say("RSET")).code).toBe(250);
      }
    }
  });

  test("at connect", async () => {
    await using later = await startSink("--defer=100", "--at=connect");
    expect((await later.dial()).greeting.code).toBe(421);
    await using never = await startSink("--reject=100", "--at=connect");
    expect((await never.dial()).greeting.code).toBe(554);
    await using gone = await startSink("--drop=100", "--at=connect");
    await expect(gone.dial()).rejects.toThrow();
  });

  test("a dropped connection closes without a word", async () => {
    await using sink = await startSink("--drop=100%", "--at=rcpt");
    await using dialog = await hello(sink);
    await dialog.say("MAIL FROM:<a@b>");
    dialog.write("RCPT TO:<c@d>\r\n");
    await dialog.closed;
    await expect(dialog.reply()).rejects.toThrow();
  });

  test("a stalled one stays open, says what it owed and nothing more, and does not stop the sink from ending", async () => {
    await using sink = await startSink("--stall=100%", "--at=dot");
    await using dialog = await hello(sink);
    dialog.write("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
    expect(codes([await dialog.reply(), await dialog.reply(), await dialog.reply()])).toEqual([
      250, 250, 354,
    ]);
    dialog.write("x\r\n.\r\nNOOP\r\n");
    let closed = false;
    void dialog.closed.then(() => {
      closed = true;
    });
    await using other = await hello(sink);
    dialog.write("NOOP\r\n");
    await other.say("NOOP");
    expect(closed).toBe(false);
    expect(await sink.stop()).toBe(0);
    await expect(dialog.reply()).rejects.toThrow();
    expect(sink.text()).toContain("received 0 messages");
  });

  test("the same seed makes the same choices, in about the share that was asked for", async () => {
    async function choices(seed: number): Promise<number[]> {
      await using sink = await startSink("--defer=30%", "--reject", "20", `--seed=${seed}`);
      await using dialog = await hello(sink);
      await dialog.say("MAIL FROM:<a@b>");
      const said: number[] = [];
      for (let index = 0; index < 90; index += 1)
        said.push((await dialog.say(`RCPT TO:<${index}@d>`)).code);
      return said;
    }
    const first = await choices(7);
    expect(await choices(7)).toEqual(first);
    expect(await choices(8)).not.toEqual(first);
    expect(new Set(first)).toEqual(new Set([250, 451, 554]));
    const random = seeded(1);
    const rolls = Array.from({ length: 10_000 }, random);
    expect(rolls.filter((roll) => roll < 0.3).length).toBeWithin(2800, 3200);
    expect(rolls.every((roll) => roll >= 0 && roll < 1)).toBe(true);
  });

  test("an address that does not exist", async () => {
    await using sink = await startSink("--reject-address=No@Body", "--reject-address", "x@y");
    await using dialog = await hello(sink);
    const replies = await dialog.mail("a@b", ["no@body", "c@d", "X@y"], "x\r\n");
    expect(codes(replies)).toEqual([250, 550, 250, 550, 354, 250]);
  });
});

test("a port that is taken", async () => {
  await using sink = await startSink();
  const ran = await run(["sink", "--listen", `127.0.0.1:${sink.port}`]);
  expect(ran.code).toBe(69);
  expect(ran.err).toContain(`cannot listen on 127.0.0.1:${sink.port}`);
});

test("after --max-messages it ends by itself, having answered", async () => {
  await using sink = await startSink("--max-messages=2");
  await using dialog = await hello(sink);
  for (const index of [1, 2]) {
    expect(codes(await dialog.mail("a@b", [`${index}@d`], "x\r\n")).at(-1)).toBe(250);
  }
  expect(await sink.ended).toBe(0);
  expect(sink.text()).toContain("received 2 messages, 2 recipients");
});

describeWithPeers(["smtp-source"], "smtp-source", () => {
  for (const [name, flags] of [
    ["one session, one message", []],
    ["sessions that are reused", ["-d"]],
  ] as const) {
    test(name, async () => {
      await using sink = await startSink("--print=count", "--max-messages=300");
      const target = `127.0.0.1:${sink.port}`;
      await using child = startChild([
        "/usr/sbin/smtp-source",
        ...flags,
        "-m",
        "300",
        "-s",
        "10",
        "-l",
        "4000",
        "-r",
        "2",
        target,
      ]);
      expect(await child.exited).toBe(0);
      expect(await sink.ended).toBe(0);
      expect(sink.text()).toMatch(/received 300 messages, 600 recipients, \d+ bytes\n$/u);
    });
  }
});

describeWithPeers(["swaks"], "swaks", () => {
  test("a message, pipelined, arrives as it was sent", async () => {
    await using dir = tempDir("sink");
    await using sink = await startSink("--save", dir.path);
    await using child = startChild([
      "/usr/bin/swaks",
      ...[
        "--server",
        `127.0.0.1:${sink.port}`,
        "--from",
        "a@example.org",
        "--to",
        "b@example.net,c@example.net",
      ],
      ...["--header", "Subject: from swaks", "--body", "line\n.dot line", "--pipeline"],
    ]);
    const code = await child.exited;
    expect([code, child.output()]).toEqual([0, expect.stringContaining("250 2.0.0 Ok")]);
    expect(sink.text()).toContain("from=<a@example.org> to=<b@example.net>,<c@example.net>");
    expect(sink.text()).toContain('subject="from swaks"');
    expect(readFileSync(dir.join("000001.eml"), "utf8")).toContain("\r\nline\r\n.dot line\r\n");
  });
});
