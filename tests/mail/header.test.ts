import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesContent, contentHead, HEAD_BYTES_MAX, withPrefix } from "../../src/mail/content.ts";
import {
  countField,
  FIELD_VALUE_MAX,
  fieldValue,
  hasField,
  headerEnd,
  headerOf,
  scanHeader,
  withField,
} from "../../src/mail/header.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (content: Uint8Array) => new TextDecoder().decode(content);
const NOTHING_FOUND = {
  hasDate: false,
  messageId: undefined,
  receivedCount: 0,
  autoSubmitted: undefined,
  contentType: undefined,
};

describe("scanHeader", () => {
  test("finds everything in one pass, whatever the letter case", () => {
    const header =
      "Received: from a by b; Tue, 01 Jan 2030 00:00:00 +0000\r\nRECEIVED: from c\r\n\tby d\r\n" +
      "dAtE: Tue, 01 Jan 2030 00:00:00 +0000\r\nMessage-Id:  <one@x> \r\nAuto-Submitted: auto-replied\r\n" +
      "Content-Type: text/plain;\r\n charset=utf-8\r\nX-Received: no\r\n";
    expect(scanHeader(bytes(`${header}\r\nDate: body\r\nReceived: body\r\n`))).toEqual({
      hasDate: true,
      messageId: "<one@x>",
      receivedCount: 2,
      autoSubmitted: "auto-replied",
      contentType: "text/plain; charset=utf-8",
      headerEnd: header.length,
    });
  });

  test.each([
    ["nothing", "", 0],
    ["a blank line first", "\r\nDate: x\r\n", 0],
    ["text that is no field", "Hello Bob,\r\nDate: x\r\n", 0],
    ["a fold first", " Date: x\r\nDate: y\r\n", 0],
    ["a colon first", ": x\r\nDate: y\r\n", 0],
    ["a line that is no field in the middle", "A: b\r\noops\r\nDate: x\r\n", 6],
    ["control characters in a name", "A: b\r\nDa\u0001te: x\r\n", 6],
    ["a similar name", "Dates: x\r\nXDate: y\r\nDat: z\r\n", 28],
  ])("sees no Date behind %s", (_, message, end) => {
    expect(scanHeader(bytes(message))).toEqual({ ...NOTHING_FOUND, headerEnd: end });
  });

  test("reads a header without a body, also without its last CRLF", () => {
    expect(scanHeader(bytes("Subject: a\r\nDate: b\r\n")).headerEnd).toBe(21);
    expect(scanHeader(bytes("Subject: a\r\nDate: b"))).toMatchObject({
      hasDate: true,
      headerEnd: 19,
    });
    expect(scanHeader(bytes("Subject: a\r\nDate"))).toMatchObject({
      hasDate: false,
      headerEnd: 12,
    });
  });

  test("accepts blanks before the colon (RFC 5322 section 4.5) and an mbox line on top", () => {
    expect(scanHeader(bytes("Date \t: x\r\n\r\n")).hasDate).toBe(true);
    expect(scanHeader(bytes("From : a@b\r\nDate: x\r\n\r\n")).headerEnd).toBe(21);
    const mbox = scanHeader(bytes("From a@b Tue Jan  1 00:00:00 2030\r\nDate: x\r\n\r\n"));
    expect(mbox).toMatchObject({ hasDate: true, headerEnd: 44 });
  });

  test("keeps the first of two and tells an empty Message-ID from none", () => {
    expect(scanHeader(bytes("Message-ID: <a>\r\nMessage-ID: <b>\r\n")).messageId).toBe("<a>");
    expect(scanHeader(bytes("Message-ID:\r\nA: b\r\n")).messageId).toBe("");
  });

  test("looks at HEAD_BYTES_MAX and no further", () => {
    const filler = `${"x".repeat(62)}\r\n`.replace("xx", "x:").repeat(HEAD_BYTES_MAX / 64);
    expect(filler.length).toBe(HEAD_BYTES_MAX);
    expect(scanHeader(bytes(`${filler}Date: x\r\n`))).toEqual({
      ...NOTHING_FOUND,
      headerEnd: HEAD_BYTES_MAX,
    });
    expect(scanHeader(bytes(`${filler.slice(64)}${`Date: x\r\n`.padEnd(64)}`)).hasDate).toBe(true);
  });

  test("survives 64 KiB of anything", () => {
    for (const garbage of ["\u0000", "a", ":", "\n", "\r", "a:\n", " ", "Date", "ÿ"]) {
      const head = bytes(garbage.repeat(HEAD_BYTES_MAX / garbage.length));
      expect(scanHeader(head).headerEnd).toBeLessThanOrEqual(HEAD_BYTES_MAX);
    }
    const huge = scanHeader(bytes(`Message-ID: ${"é".repeat(HEAD_BYTES_MAX)}\r\n`));
    expect(huge.messageId?.length).toBeLessThanOrEqual(FIELD_VALUE_MAX);
  });

  test("whatever the bytes, it ends within them and at the start of a line", () => {
    const piece = fc.constantFrom(
      "Date",
      ":",
      " ",
      "\r\n",
      "\t",
      "x",
      "Received: a\r\n",
      "é",
      "\n",
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const head = bytes(pieces.join(""));
        const { headerEnd: end, receivedCount } = scanHeader(head);
        expect(end).toBeLessThanOrEqual(head.length);
        expect(end === 0 || end === head.length || head[end - 1] === 0x0a).toBe(true);
        expect(receivedCount).toBe(countField(head, "received", Number.POSITIVE_INFINITY));
        expect(headerEnd(head)).toBe(end);
      }),
    );
  });
});

describe("single fields", () => {
  const head = bytes(
    "Subject: =?utf-8?q?a?=\r\n\tand\r\n more\r\nTo: \u0007x\r\nTo: y\r\n\r\nCc: z\r\n",
  );

  test("are found by name", () => {
    expect(hasField(head, "to")).toBe(true);
    expect(hasField(head, "cc")).toBe(false);
    expect(hasField(head, "sub")).toBe(false);
  });

  test("are unfolded and printable", () => {
    expect(fieldValue(head, "subject")).toBe("=?utf-8?q?a?= and more");
    expect(fieldValue(head, "to")).toBe("x");
    expect(fieldValue(head, "cc")).toBeUndefined();
  });

  test("are counted no further than asked", () => {
    expect(countField(head, "to", 5)).toBe(2);
    expect(countField(head, "to", 1)).toBe(1);
    expect(countField(head, "to", 0)).toBe(0);
  });
});

describe("headerOf", () => {
  test("joins prefix and body, the prefix first", () => {
    const content = bytesContent(bytes("Received: a\r\nMessage-ID: <below>\r\n\r\nbody"));
    const topped = withPrefix(content, bytes("Received: b\r\nDate: x\r\nMessage-ID: <top>\r\n"));
    expect(headerOf(content)).toMatchObject({ hasDate: false, receivedCount: 1, headerEnd: 34 });
    expect(headerOf(topped)).toMatchObject({ hasDate: true, receivedCount: 2, messageId: "<top>" });
    expect(headerOf(topped).headerEnd).toBe(headerEnd(contentHead(topped)));
  });

  test("scans a body once", () => {
    const content = bytesContent(bytes("Date: x\r\n\r\n"));
    expect(headerOf({ prefix: new Uint8Array(), body: content.body })).toBe(headerOf(content));
  });
});

describe("withField", () => {
  const put = (message: string) => {
    const content = withField(withField(bytesContent(bytes(message)), "B: 2"), "A: 1\r\n\tfold");
    return text(contentHead(content));
  };

  test("goes on top of a header, of a blank line and of nothing", () => {
    expect(put("C: 3\r\n\r\nbody\r\n")).toBe("A: 1\r\n\tfold\r\nB: 2\r\nC: 3\r\n\r\nbody\r\n");
    expect(put("\r\nbody\r\n")).toBe("A: 1\r\n\tfold\r\nB: 2\r\n\r\nbody\r\n");
    expect(put("")).toBe("A: 1\r\n\tfold\r\nB: 2\r\n");
  });

  test("parts a body without a header from the fields", () => {
    expect(put("Hello Bob,\r\n")).toBe("A: 1\r\n\tfold\r\nB: 2\r\n\r\nHello Bob,\r\n");
    expect(put(" folded: x\r\n")).toBe("A: 1\r\n\tfold\r\nB: 2\r\n\r\n folded: x\r\n");
    const content = withField(bytesContent(bytes("Hello\r\nDate: x\r\n")), "A: 1");
    expect(headerOf(content)).toMatchObject({ hasDate: false, headerEnd: 6 });
  });
});
