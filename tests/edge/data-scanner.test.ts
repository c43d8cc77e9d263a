import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { dataScanner } from "../../src/edge/data-scanner.ts";
import { isPlain } from "../../src/relay/line-scan.ts";

interface Read {
  readonly content: string;
  readonly rest: string;
  readonly ended: boolean;
  readonly bare: boolean;
  readonly nul: boolean;
  readonly dots: boolean;
}

/** Bytes as text, one character each. */
const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

function read(chunks: readonly Uint8Array[]): Read {
  const scanner = dataScanner();
  let content = "";
  let rest = "";
  for (const chunk of chunks) {
    const end = scanner.ended ? 0 : scanner.take(chunk, 0);
    if (end > 0) content += latin1(scanner.piece);
    rest += latin1(chunk.subarray(end));
  }
  const { ended, sawBareLineEnd, sawNul, sawDotLine } = scanner;
  return { content, rest, ended, bare: sawBareLineEnd, nul: sawNul, dots: sawDotLine };
}

const readText = (text: string) => read([Buffer.from(text, "latin1")]);

/** The same, written the slow and obvious way on the whole text. */
function expected(text: string): Read {
  const end = text.startsWith(".\r\n") ? 0 : text.indexOf("\r\n.\r\n") + 2;
  const ended = end !== 1;
  const stuffed = ended ? text.slice(0, end) : text;
  const lines = stuffed.split("\r\n").map((line) => line.replace(/^\./u, ""));
  const nul = stuffed.includes("\0");
  const bare = lines.some((line) => /[\r\n]/u.test(line));
  const content = lines.map((line) => line.replace(/[\r\n]/gu, "\r\n")).join("\r\n");
  const dots = stuffed.split("\r\n").some((line) => line.startsWith(".."));
  return { content, rest: ended ? text.slice(end + 3) : "", ended, bare, nul, dots };
}

const alphabet = fc.constantFrom(
  "\r",
  "\n",
  ".",
  "\r\n",
  "\r\n.",
  "\0",
  "a",
  "text of a line",
  "\xff",
);
const wire = fc.array(alphabet, { maxLength: 40 }).map((parts) => `${parts.join("")}`);

describe("end of data", () => {
  test("only CRLF.CRLF ends a message, whatever surrounds it", () => {
    fc.assert(
      fc.property(wire, wire, (before, after) => {
        const text = `${before}\r\n.\r\n${after}`;
        expect(readText(text)).toEqual(expected(text));
      }),
      { numRuns: 2000 },
    );
  });

  test("a split anywhere changes nothing", () => {
    const cuts = fc.array(fc.nat({ max: 200 }), { maxLength: 30 });
    fc.assert(
      fc.property(wire, cuts, (before, at) => {
        const bytes = Buffer.from(`${before}\r\n.\r\nNEXT`, "latin1");
        const bounds = [0, ...at.filter((cut) => cut < bytes.length).sort((a, b) => a - b)];
        const chunks = bounds.map((cut, index) => bytes.subarray(cut, bounds[index + 1]));
        expect(read(chunks)).toEqual(read([bytes]));
        expect(read([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(read([bytes]));
      }),
      { numRuns: 2000 },
    );
  });

  for (const variant of [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\r\n.\r\r\n",
    "\r\n. \r\n",
    "\r\n.\f\r\n",
    "\r\n.\0\r\n",
    "\r\n\0.\r\n",
    "\n\n.\r\r\n",
  ]) {
    test(`${JSON.stringify(variant)} is content`, () => {
      const result = readText(`first${variant}MAIL FROM:<smuggled@example.org>\r\n`);
      expect(result.ended).toBe(false);
      expect(result.content).toContain("MAIL FROM:<smuggled");
      expect(result.content.replaceAll("\r\n", "")).not.toMatch(/[\r\n]/u);
    });
  }

  test("what is said to be plain needs nothing to go over the wire again", () => {
    let plain = 0;
    fc.assert(
      fc.property(wire, (before) => {
        const result = readText(`${before}\r\n.\r\n`);
        if (result.bare || result.dots) return;
        plain += 1;
        expect(isPlain(Buffer.from(result.content, "latin1"), 0x0a)).toBe(true);
        expect(result.content).toMatch(/^$|\r\n$/u);
      }),
      { numRuns: 5000 },
    );
    expect(plain).toBeGreaterThan(100);
  });

  test("an empty message ends at once", () => {
    expect(readText(".\r\nQUIT\r\n")).toMatchObject({ content: "", ended: true, rest: "QUIT\r\n" });
  });
});

describe("content", () => {
  test("a clean chunk is given out as a view, not as a copy", () => {
    const chunk = Buffer.from(`${"a line of text\r\n".repeat(100)}.\r\n`);
    const scanner = dataScanner();
    scanner.take(chunk, 0);
    expect(scanner.ended).toBe(true);
    expect(scanner.piece.buffer).toBe(chunk.buffer);
  });

  test("dots after a bare line feed stay: only CRLF starts a line", () => {
    expect(readText("a\n..b\r\n..c\r\n.d\r\n.\r\n").content).toBe("a\r\n..b\r\n.c\r\nd\r\n");
  });

  test("every byte but CR and LF survives", () => {
    const all = Uint8Array.from({ length: 256 }, (_, index) => index).filter(
      (byte) => byte !== 0x0a && byte !== 0x0d,
    );
    const result = read([all, Buffer.from("\r\n.\r\n")]);
    expect(result.content).toBe(`${latin1(all)}\r\n`);
    expect(result.nul).toBe(true);
  });
});
