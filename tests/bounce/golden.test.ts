import { describe, expect, test } from "bun:test";
import { buildNotification } from "../../src/bounce/notification.ts";
import { contentHead } from "../../src/mail/content.ts";
import { NOTICES, textOf } from "./fixtures.ts";
import { parseWithPython } from "./parse-with-python.ts";

const GOLDEN = new URL("golden/", import.meta.url).pathname;

/** `UPDATE_GOLDEN=1 bun test tests/bounce` writes the files anew, to be read before they are committed. */
describe.each(Object.entries(NOTICES))("%s", (name, notice) => {
  const envelope = buildNotification(notice);

  test("is as in its golden file", async () => {
    const file = Bun.file(`${GOLDEN}${name}.eml`);
    if (process.env.UPDATE_GOLDEN === "1") await Bun.write(file, contentHead(envelope.content));
    expect(textOf(envelope)).toBe(await file.text());
  });

  test("is a valid report to somebody else's parser", async () => {
    const [parsed] = await parseWithPython([contentHead(envelope.content)]);
    expect(parsed).toMatchObject({
      defects: [],
      type: "multipart/report",
      from: "Mail Delivery System <MAILER-DAEMON@edge.example>",
      to: `<${notice.original.sender}>`,
      autoSubmitted: "auto-replied",
      inReplyTo: "<lunch.1@sender.example>",
    });
    const isUtf8 = name === "failed-utf8";
    const returned = { failed: "message/rfc822", "failed-8bit": "message/rfc822" }[name];
    expect(parsed?.types).toEqual([
      "text/plain",
      isUtf8 ? "message/global-delivery-status" : "message/delivery-status",
      isUtf8 ? "message/global" : (returned ?? "text/rfc822-headers"),
    ]);
    expect(parsed?.reportType).toBe(parsed?.types[1]?.replace("message/", ""));
    const [message, ...recipients] = parsed?.groups ?? [];
    expect(message?.["Reporting-MTA"]).toBe("dns; edge.example");
    expect(recipients).toHaveLength(notice.recipients.length);
    for (const [index, fields] of recipients.entries()) {
      expect(fields.Action).toBe(notice.action);
      expect(fields.Status).toMatch(/^[245]\.\d+\.\d+$/u);
      expect(fields["Final-Recipient"]).toBe(
        `${isUtf8 ? "utf-8" : "rfc822"}; ${notice.recipients[index]?.recipient.address}`,
      );
    }
  });

  test("has CRLF only, short lines, and 8 bits only where it says so", () => {
    const text = textOf(envelope);
    expect(text.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/u);
    expect(envelope.eightBit).toBe(/[^\p{ASCII}]/u.test(text));
    for (const line of text.split("\r\n")) expect(line.length).toBeLessThanOrEqual(100);
  });
});
