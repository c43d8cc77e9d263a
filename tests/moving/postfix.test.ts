/** The queue of a real Postfix, with deferred, held, half delivered and damaged mail of awkward content. */
import { expect, test } from "bun:test";
import { chmodSync, globSync, mkdirSync, readFileSync, statSync, truncateSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { realWorld } from "../../src/lib/world.ts";
import { type ImportParts, importMail } from "../../src/moving/import.ts";
import { isRunning, postfixQueue } from "../../src/moving/postfix/postfix.ts";
import { postfixPrograms } from "../../src/moving/postfix/programs.ts";
import { readPostfixEnvelope } from "../../src/moving/postfix/records.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { runProduct } from "../support/binary.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postfix, postfixInstance } from "../support/postfix.ts";
import { type SmtpDialog, smtpDialog } from "../support/smtp-dialog.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { everythingIn, keptStore } from "./fixture.ts";

const TIMEOUT_MS = 60_000;
const LONG = "x".repeat(9000);
/** As after dot-unstuffing: 8-bit, dots, lines of every length, bare CR, the line that ends DATA, no header at all. */
const BODIES = {
  plain: "Subject: plain\r\n\r\nhello\r\n",
  awkward: `Subject: \u00e9\r\n\r\n.\r\n..\r\n.x\r\n\u00ff\u0080 8bit\r\n${LONG}\r\n\r\nend of line\r\n \r\n`,
  large: `Subject: large\r\n\r\n${`${"y".repeat(76)}\r\n`.repeat(8000)}`,
  half: "Subject: half\r\n\r\nhalf\r\n",
} as const;

async function send(
  dialog: SmtpDialog,
  from: string,
  to: readonly string[],
  body: string,
): Promise<string> {
  await dialog.say(`MAIL FROM:${from}`);
  for (const each of to) expect((await dialog.say(`RCPT TO:${each}`)).code).toBe(250);
  expect((await dialog.say("DATA")).code).toBe(354);
  dialog.write(body.replace(/^\./gmu, ".."));
  const { raw } = await dialog.say(".");
  const [, id = ""] = /queued as (\w+)/u.exec(raw) ?? [];
  expect(id, raw).not.toBe("");
  return id;
}

/** Sends one message of each kind and stops when all of them wait. */
async function filled(postfix: Postfix) {
  await using dialog = await smtpDialog(postfix.port);
  await dialog.say("EHLO client.example");
  const plain = await send(dialog, "<a@x.example>", ["<b@y.example>"], BODIES.plain);
  const awkward = await send(
    dialog,
    "<a@x.example> RET=HDRS ENVID=e+2B1 BODY=8BITMIME",
    [
      "<b@y.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;Bob+2Bx@o.example",
      "<c@y.example> NOTIFY=NEVER",
    ],
    BODIES.awkward,
  );
  const large = await send(dialog, "<>", ["<b@y.example>"], BODIES.large);
  const half = await send(
    dialog,
    "<a@x.example>",
    ["<in@inbox.example>", "<b@y.example>"],
    BODIES.half,
  );
  const utf8 = await send(
    dialog,
    "<\u00c3\u00a9@x.example> SMTPUTF8",
    ["<\u00c3\u00bc@y.example>"],
    BODIES.plain,
  );
  const damaged = await send(dialog, "<a@x.example>", ["<b@y.example>"], BODIES.plain);
  const unfinished = await send(dialog, "<a@x.example>", ["<b@y.example>"], BODIES.plain);
  await until("all of it is deferred", async () => (await postfix.queued("deferred")) === 7);
  await until("one is delivered", async () => (await postfix.inbox()).length === 1);
  postfix.command("postsuper", "-h", plain);
  return { plain, awkward, large, half, utf8, damaged, unfinished };
}

function fileOf(postfix: Postfix, id: string): string {
  const [path] = globSync(join(postfix.queueDir, "{incoming,active,deferred,hold}/**", id));
  if (path === undefined) throw new Error(`no file ${id}`);
  return path;
}

let runs = 0;

function run(postfix: Postfix, storage: QueueStorage, given: Partial<ImportParts> = {}) {
  runs += 1;
  const { clock } = realWorld;
  const programs = postfixPrograms(postfix.configDir);
  const { queueDir } = postfix;
  return importMail({
    from: postfixQueue({ name: "postfix", programs, queueDir, receiver: "mx.example" }),
    to: { storage, name: "/to" },
    remove: false,
    dryRun: false,
    clock,
    holder: `run-${runs}`,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...given,
  });
}

describeWithPeers(["postfix"], "the queue of a Postfix", () => {
  test(
    "is taken byte for byte, with what was delivered, asked for and held",
    async () => {
      await using postfix = await postfixInstance({
        relayhost: "[127.0.0.1]:1",
        inboxDomains: ["inbox.example"],
        main: { smtpd_forbid_bare_newline: "no" },
      });
      const ids = await filled(postfix);
      const programs = postfixPrograms(postfix.configDir);
      expect(await isRunning(programs, postfix.queueDir)).toBe(true);
      await using dir = tempDir("postfix-import");
      const nowhere = ["--config-dir", dir.join("nothing"), "--to", dir.join("spool")];
      expect(await runProduct(["import", "postfix", ...nowhere])).toMatchObject({ code: 78 });
      const config = ["--config-dir", postfix.configDir, "--to", dir.join("spool")];
      const early = await runProduct(["import", "postfix", ...config]);
      expect(early.code, early.output).toBe(75);
      expect(early.output).toContain("stop it first");
      await postfix.stop();
      expect(await isRunning(programs, postfix.queueDir)).toBe(false);
      truncateSync(fileOf(postfix, ids.damaged), 300);
      chmodSync(fileOf(postfix, ids.unfinished), 0o600);
      mkdirSync(join(postfix.queueDir, "maildrop"), { recursive: true });
      await writeFile(join(postfix.queueDir, "maildrop/ABCDEF0123"), "x");
      const nextTry = Math.round(statSync(fileOf(postfix, ids.awkward)).mtimeMs);

      const storage = keptStore(realWorld).open();
      expect(await run(postfix, storage, { dryRun: true })).toMatchObject({ moved: 5, left: 3 });
      const report = await run(postfix, storage);
      expect(report).toMatchObject({ moved: 5, left: 3, known: 0, gone: 0 });
      expect(report.stopped).toBeUndefined();
      const why = new Map(report.leftNames.map(({ id, text, reason }) => [id, { text, reason }]));
      expect(why.get(ids.damaged)?.reason).toBe("damaged");
      expect(why.get(ids.unfinished)?.text).toContain("never received whole");
      expect(why.get("ABCDEF0123")?.text).toContain("cleanup");

      const all = await everythingIn(storage);
      const of = (id: string) => {
        const found = all.find(({ text }) => text.includes(`id ${id}`));
        if (found === undefined) throw new Error(`${id} did not come`);
        return found;
      };
      const endsWith = (id: string, body: string) => {
        // Postfix adds fields of its own below what the client sent.
        const [header = "", ...rest] = body.split("\r\n\r\n");
        expect(of(id).text).toContain(`\r\n${header}\r\n`);
        expect(of(id).text.endsWith(`\r\n\r\n${rest.join("\r\n\r\n")}`)).toBe(true);
      };
      endsWith(ids.plain, BODIES.plain);
      endsWith(ids.awkward, BODIES.awkward);
      endsWith(ids.large, BODIES.large);
      endsWith(ids.half, BODIES.half);
      expect(of(ids.plain)).toMatchObject({ state: "hold", attempts: 0 });
      expect(of(ids.large)).toMatchObject({ state: "deferred", envelope: { sender: "" } });
      const awkward = of(ids.awkward);
      expect(awkward).toMatchObject({ attempts: 1, due: nextTry, state: "deferred" });
      expect(awkward.envelope).toMatchObject({
        dsn: { envid: "e+1", ret: "HDRS" },
        eightBit: true,
        smtpUtf8: false,
        receiver: "mx.example",
        client: { ip: "127.0.0.1", name: "client.example", protocol: "ESMTP" },
      });
      expect(awkward.original).toEqual([
        {
          index: 0,
          address: "b@y.example",
          notify: ["FAILURE", "DELAY"],
          orcpt: "rfc822;Bob+x@o.example",
        },
        { index: 1, address: "c@y.example", notify: ["NEVER"], orcpt: "rfc822;c@y.example" },
      ]);
      const half = of(ids.half);
      expect(half.envelope.recipients.map(({ address }) => address)).toEqual(["b@y.example"]);
      expect(half.original).toHaveLength(2);
      expect(of(ids.utf8).envelope).toMatchObject({ sender: "\u00e9@x.example", smtpUtf8: true });
      expect(of(ids.utf8).envelope.recipients[0]?.address).toBe("\u00fc@y.example");

      const again = await run(postfix, storage, { remove: true });
      expect(again).toMatchObject({ moved: 0, known: 5, left: 3 });
      expect(await everythingIn(storage)).toEqual(all);
      const left = globSync(join(postfix.queueDir, "{incoming,active,deferred,hold,defer}/**/*"));
      const names = left.filter((path) => statSync(path).isFile()).map((path) => basename(path));
      expect(new Set(names)).toEqual(new Set([ids.damaged, ids.unfinished]));
      expect(readFileSync(fileOf(postfix, ids.damaged))).toHaveLength(300);
    },
    TIMEOUT_MS,
  );
});

test("what postcat says is read strictly", () => {
  const lines = (...text: readonly string[]) => new TextEncoder().encode(text.join("\n"));
  const time = "message_arrival_time: Sun Nov 22 08:25:10 2026";
  const read = readPostfixEnvelope(
    lines(time, "sender: ", "recipient: a@x", "done_recipient: b@x"),
  );
  expect(read).toMatchObject({ sender: "", arrivedAt: Date.UTC(2026, 10, 22, 8, 25, 10) });
  expect(read.recipients.map(({ done }) => done)).toEqual([false, true]);
  expect(() => readPostfixEnvelope(lines("sender: ", "recipient: a@x"))).toThrow("not whole");
  expect(() => readPostfixEnvelope(lines(time, "recipient: a@x"))).toThrow("not whole");
  expect(() => readPostfixEnvelope(lines(time, "sender: a@x"))).toThrow("no recipients");
  expect(() => readPostfixEnvelope(lines(time, "sender: a\rb@x", "recipient: a@x"))).toThrow(
    "line",
  );
  expect(() => readPostfixEnvelope(Uint8Array.of(0xff))).toThrow("no text");
});
