import { describe, expect, test } from "bun:test";
import type { Notice } from "../../src/bounce/notice.ts";
import { buildNotification } from "../../src/bounce/notification.ts";
import { bodyContent, bytesContent, contentHead, withPrefix } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { MESSAGE, notice, original, textOf } from "./fixtures.ts";
import { parseWithPython } from "./parse-with-python.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("what goes back", () => {
  const BODY = "At noon?\r\n";
  const goesBack = (about: Envelope, change: Partial<Notice> = {}) =>
    textOf(buildNotification(notice({ original: about, ...change }))).includes(BODY);

  test("all of a failed message, unless the sender asks for the header", () => {
    expect(goesBack(original())).toBe(true);
    expect(goesBack(original({ dsn: { ret: "FULL" } }))).toBe(true);
    expect(goesBack(original({ dsn: { ret: "HDRS" } }))).toBe(false);
  });

  test("only the header of any other", () => {
    for (const action of ["delayed", "delivered", "relayed"] as const) {
      expect(goesBack(original({ dsn: { ret: "FULL" } }), { action })).toBe(false);
    }
  });

  test("only the header of a message over the size, prefix included", () => {
    expect(goesBack(original(), { returnBytesMax: MESSAGE.length })).toBe(true);
    expect(goesBack(original(), { returnBytesMax: MESSAGE.length - 1 })).toBe(false);
    const content = withPrefix(original().content, bytes("A: b\r\n"));
    expect(goesBack(original({ content }), { returnBytesMax: MESSAGE.length + 5 })).toBe(false);
    expect(goesBack(original({ content }), { returnBytesMax: MESSAGE.length + 6 })).toBe(true);
  });

  test("a streamed message whole only when all of it is in memory", () => {
    const stored = (size: number) =>
      bodyContent({
        kind: "source",
        size,
        head: bytes(MESSAGE),
        stream: () => {
          throw new Error("nothing is read");
        },
      });
    expect(goesBack(original({ content: stored(MESSAGE.length) }))).toBe(true);
    expect(goesBack(original({ content: stored(MESSAGE.length + 1) }))).toBe(false);
  });

  test("nothing but whole lines of a header that does not end", async () => {
    const endless = `A: b\r\n${"x".repeat(62)}: `.replace("b\r\n", "b\r\n").padEnd(200_000, "y");
    const built = buildNotification(
      notice({ original: original({ content: bytesContent(bytes(endless)) }) }),
    );
    const [parsed] = await parseWithPython([contentHead(built.content)]);
    expect(parsed?.returned).toBe("A: b\r\n");
  });

  test("with a boundary that is not in it", async () => {
    const nasty = "--=_0123456789ABCDEF_0\r\n--=_0123456789ABCDEF_1--\r\n";
    const built = buildNotification(notice({ original: original({}, MESSAGE + nasty) }));
    const [parsed] = await parseWithPython([contentHead(built.content)]);
    expect(parsed?.returned).toBe(MESSAGE + nasty);
    expect(textOf(built)).toContain('boundary="=_0123456789ABCDEF_2"');
  });

  test("all octets unharmed", () => {
    const octets = Uint8Array.from({ length: 256 }, (_, index) => index);
    const body = new Uint8Array([...bytes("A: b\r\n\r\n"), ...octets]);
    const built = buildNotification(
      notice({ original: original({ content: bytesContent(body) }) }),
    );
    const all = Buffer.from(contentHead(built.content));
    expect(all.includes(Buffer.from(body))).toBe(true);
    expect(built.eightBit).toBe(true);
  });
});
