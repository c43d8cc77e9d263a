import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { ledgerClient } from "../../src/selftest/ledger-client.ts";
import {
  ledgerMessage,
  readLedgerBounce,
  readLedgerMessage,
} from "../../src/selftest/ledger-message.ts";
import { ledgerReceiver } from "../../src/selftest/ledger-receiver.ts";
import type { Whim } from "../../src/selftest/receiver-session.ts";
import { smtpDialog } from "../support/smtp-dialog.ts";
import { until } from "../support/until.ts";

// The client and the receiver keep books of what a queue between them promised and did. Here there is none.

describe("client and receiver", () => {
  test("write down the same, whatever the body is", async () => {
    await using receiver = await ledgerReceiver();
    const client = ledgerClient({
      recipients: () => 3,
      body: (number) => `.\r\n..two dots ${number}\r\n${"x".repeat(100_000)}\r\n`,
    });
    await client.sendSome(receiver.port, 2, 12);
    expect([...client.acknowledged.keys()].toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 12 }, (_, index) => index + 1),
    );
    expect([...receiver.taken.values()].map((takes) => takes.length)).toEqual(Array(12).fill(1));
    expect(receiver.count()).toBe(4);
    expect(receiver.damaged).toEqual([]);
    expect(client.refusals).toEqual([]);
  });

  test("a refusal promises nothing", async () => {
    const whims: Whim[] = ["take", "defer", "reject", "drop", "mute"];
    await using receiver = await ledgerReceiver({ atDot: (number) => whims[number - 1] ?? "take" });
    const client = ledgerClient();
    await client.sendSome(receiver.port, 1, 6);
    expect([...client.acknowledged.keys()]).toEqual([1, 6]);
    expect(client.refusals.map((text) => text.slice(0, 3))).toEqual(["451", "550"]);
    expect([...receiver.taken.keys()]).toEqual([1, 5, 6]);
    expect(receiver.taken.get(5)?.[0]?.answered).toBe(false);
    expect(receiver.taken.get(6)?.[0]?.answered).toBe(true);
    expect([...receiver.rejected]).toEqual([3]);
  });

  test("recipients are refused one by one", async () => {
    const atRcpt = (number: number) => (number === 2 ? "reject" : "take");
    await using receiver = await ledgerReceiver({ atRcpt });
    const client = ledgerClient({ recipients: () => 3 });
    await client.sendSome(receiver.port, 1, 3);
    expect([...client.acknowledged.keys()]).toEqual([1, 3]);
    expect([...receiver.taken.keys()]).toEqual([1, 3]);
  });

  test("a client outlives a server that goes away", async () => {
    await using receiver = await ledgerReceiver();
    const client = ledgerClient();
    const done = new AbortController();
    let port: number | undefined;
    const sent = client.send(() => port, 2, done.signal);
    port = receiver.port;
    await until("mail", () => client.acknowledged.size > 10);
    await receiver.down();
    const before = client.acknowledged.size;
    await receiver.up();
    await until("more mail", () => client.acknowledged.size > before + 10);
    done.abort();
    await sent;
    const unread = [...receiver.taken.values()].filter(([take]) => take?.answered === false);
    expect(unread.length).toBeLessThanOrEqual(receiver.count());
    for (const number of client.acknowledged.keys()) expect(receiver.taken.has(number)).toBe(true);
  });

  test("a receiver that hangs takes connections and says nothing", async () => {
    await using receiver = await ledgerReceiver();
    receiver.pause();
    await using dialog = await smtpDialog(receiver.port);
    dialog.write("EHLO client.example.org\r\n");
    let isAnswered = false;
    const answer = dialog.reply().then((reply) => {
      isAnswered = true;
      return reply.code;
    });
    // Another connection is opened and closed meanwhile: had it been read, it would have been answered.
    await new Promise((resolve) => connect(receiver.port, "127.0.0.1").once("connect", resolve));
    expect(isAnswered).toBe(false);
    receiver.resume();
    expect(await answer).toBe(250);
  });
});

describe("what arrives", () => {
  const CONTENT = ledgerMessage(7, 2, "one\r\ntwo\r\n");

  async function damageOf(to: string, content: string): Promise<readonly string[]> {
    await using receiver = await ledgerReceiver();
    await using dialog = await smtpDialog(receiver.port);
    await dialog.mail("7@client.example.org", [to], content);
    expect(receiver.count()).toBe(1);
    return receiver.damaged;
  }

  test("may have gained header fields", async () => {
    expect(await damageOf("8@example.net", `Received: by a\r\n b\r\n${CONTENT}`)).toEqual([]);
  });

  test("may not have changed", async () => {
    expect(await damageOf("8@example.net", CONTENT.replace("two", "too"))).toHaveLength(1);
    expect(await damageOf("8@example.net", CONTENT.replace("two\r\n", ""))).toHaveLength(1);
    expect(await damageOf("8@example.net", "Subject: else\r\n\r\nhi\r\n")).toHaveLength(1);
  });

  test("may not be somebody else's", async () => {
    expect(await damageOf("9@example.net", CONTENT)).toHaveLength(1);
    expect(await damageOf("6@example.net", CONTENT)).toHaveLength(1);
  });

  test("tells what it is", () => {
    expect(readLedgerMessage(CONTENT)).toEqual({ first: 7, recipients: 2, intact: true });
    expect(readLedgerMessage("Subject: 7\r\n\r\nhi\r\n")).toBeUndefined();
  });

  test("is a bounce that tells whom, why and what, or is none", () => {
    const report =
      "Final-Recipient: rfc822; 8@example.net\r\nDiagnostic-Code: smtp;\r\n 550 5.1.1 No such user\r\n";
    expect(readLedgerBounce(`${report}\r\n${CONTENT}`)).toEqual({ numbers: [8], intact: true });
    expect(readLedgerBounce(report)).toEqual({ numbers: [8], intact: false });
    expect(readLedgerBounce(`${report.replace("550", "451")}\r\n${CONTENT}`).intact).toBe(false);
    expect(readLedgerBounce(`${report.replace("8@", "9@")}\r\n${CONTENT}`).intact).toBe(false);
    expect(readLedgerBounce(CONTENT)).toEqual({ numbers: [], intact: false });
  });
});
