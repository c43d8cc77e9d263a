import { expect, test } from "bun:test";
import fc from "fast-check";
import { Transaction, type TransactionEnd } from "../../src/relay/smtp-transaction.ts";

function dialogue(recipients: number, pipelining: boolean) {
  const ends: TransactionEnd[] = [];
  const sent: string[] = [];
  const rcpts = Array.from({ length: recipients }, (_, index) => `RCPT ${index}\r\n`);
  const transaction: Transaction = new Transaction(
    { mail: "MAIL\r\n", rcpts, pipelining },
    {
      send: (commands) => sent.push(commands),
      sendContent: () => {
        sent.push("content");
        transaction.contentSent();
      },
      await: () => undefined,
    },
    (end) => ends.push(end),
  );
  transaction.start();
  return { transaction, ends, sent };
}

const code = fc.constantFrom(250, 250, 250, 354, 354, 421, 450, 452, 500, 550, 554, 211);

test("whatever a peer says, it ends once, with one answer for everybody", () => {
  fc.assert(
    fc.property(
      fc.array(code, { maxLength: 12 }),
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      (codes, recipients, pipelining) => {
        const { transaction, ends } = dialogue(recipients, pipelining);
        for (const one of codes) transaction.reply(one, `${one} text`);
        transaction.fail({ kind: "lost", phase: transaction.phase });
        transaction.fail({ kind: "lost", phase: "mail" });
        expect(ends).toHaveLength(1);
        expect(ends[0]?.answers).toHaveLength(recipients);
        // Nobody was delivered to without a positive reply to the end of the content.
        if (!ends[0]?.answers.some(({ kind }) => kind === "taken")) return;
        const [data, end] = codes.slice(recipients + 1);
        expect(data).toBe(354);
        expect([250, 211]).toContain(end ?? 0);
      },
    ),
  );
});

test("the content is sent only to a peer that took a recipient", () => {
  const { transaction, sent, ends } = dialogue(1, true);
  for (const one of [250, 550, 354]) transaction.reply(one, `${one} x`);
  expect(sent).toEqual(["MAIL\r\nRCPT 0\r\nDATA\r\n", ".\r\n"]);
  transaction.reply(554, "554 nobody to send it to");
  expect(ends[0]).toMatchObject({ session: "clean", answers: [{ kind: "reply", phase: "rcpt" }] });
});

test.each([334, 354, 399])("%i to the end of data is no receipt", (end) => {
  const { transaction, ends } = dialogue(1, false);
  for (const one of [250, 250, 354, end]) transaction.reply(one, `${one} x`);
  expect(ends).toMatchObject([{ session: "unusable", answers: [{ kind: "garbled" }] }]);
});

test.each(["is lost", "is closed with 421"])(
  "a refused sender counts for everybody, before and after the connection %s",
  (how) => {
    const { transaction, ends } = dialogue(2, true);
    transaction.reply(550, "550 5.7.1 no");
    if (how === "is lost") transaction.fail({ kind: "lost", phase: "rcpt" });
    else transaction.reply(421, "421 4.3.2 bye");
    expect(ends[0]?.answers).toMatchObject([
      { kind: "reply", phase: "mail" },
      { kind: "reply", phase: "mail" },
    ]);
  },
);

test("a peer that refuses the sender and asks for the message is not trusted again", () => {
  const { transaction, ends, sent } = dialogue(1, true);
  for (const one of [550, 250, 354]) transaction.reply(one, `${one} x`);
  expect(sent).not.toContain("content");
  expect(ends[0]?.session).toBe("unusable");
});
