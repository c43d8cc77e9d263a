import { expect, test } from "bun:test";
import fc from "fast-check";
import { dotReader } from "../../src/cli/sink/dot-reader.ts";

/** Feeds a stream in pieces; the content, and what follows the end of data. */
function read(stream: Uint8Array, cuts: readonly number[]) {
  const reader = dotReader();
  const content: Uint8Array[] = [];
  const ends = [...cuts.map((cut) => cut % (stream.byteLength + 1)), stream.byteLength].sort(
    (a, b) => a - b,
  );
  let from = 0;
  for (const end of ends) {
    const read = reader(stream.subarray(from, end));
    content.push(...read.content.map((piece) => piece.slice()));
    if (read.rest !== undefined) {
      return {
        content: Buffer.concat(content),
        rest: Buffer.concat([read.rest, stream.subarray(end)]),
      };
    }
    from = end;
  }
  return { content: Buffer.concat(content), rest: undefined };
}

/** Dot-stuffs text whose lines end with CRLF. */
function stuffed(message: Buffer): Buffer {
  return Buffer.from(message.toString("latin1").replace(/(^|\r\n)\./gu, "$1.."), "latin1");
}

const byte = fc.oneof(fc.constantFrom(0x0d, 0x0a, 0x2e), fc.nat(255));
const message = fc
  .array(byte, { maxLength: 60 })
  .map((bytes) => Buffer.from([...bytes, 0x0d, 0x0a]));
const cuts = fc.array(fc.nat(200), { maxLength: 8 });

test("what was stuffed comes out as it was, however it was cut, and nothing of the next command is taken", () => {
  fc.assert(
    fc.property(message, cuts, (original, at) => {
      const stream = Buffer.concat([stuffed(original), Buffer.from(".\r\nQUIT\r\n")]);
      const { content, rest } = read(stream, at);
      expect(content).toEqual(original);
      expect(rest?.toString()).toBe("QUIT\r\n");
    }),
    { numRuns: 2000 },
  );
});

test("an empty message", () => {
  expect(read(Buffer.from(".\r\n"), [])).toEqual({
    content: Buffer.alloc(0),
    rest: Buffer.alloc(0),
  });
});

test("nothing but CRLF dot CRLF ends the data", () => {
  for (const end of [
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n..\r\n",
    "\r\n\u0000.\r\n",
  ]) {
    expect(read(Buffer.from(`x${end}MAIL FROM:<>`), []).rest).toBeUndefined();
  }
});
