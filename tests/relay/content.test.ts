import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Body, Content } from "../../src/mail/content.ts";
import { contentSize } from "../../src/mail/content.ts";
import { isPlain } from "../../src/relay/line-scan.ts";
import { contentPieces, PIECE_BYTES_MAX, wholePiece } from "../../src/relay/smtp-content.ts";
import { openPeer } from "./fake-peer.ts";
import { content, delivery, envelope, NEVER, relayTo, shown } from "./fixtures.ts";

/** Bytes with much of what matters in them, at any alignment. */
const bytes = fc
  .tuple(
    fc.array(
      fc.oneof(
        fc.constantFrom("\r\n", "\r", "\n", ".", "\r\n.", "\r\n.\r\n", "abc", "\0", "\u00ff"),
        fc.string({ maxLength: 6 }),
      ),
      { maxLength: 40 },
    ),
    fc.nat(3),
  )
  .map(([parts, shift]) => {
    const all = Buffer.from(`${"_".repeat(shift)}${parts.join("")}`, "latin1");
    return new Uint8Array(all.buffer, all.byteOffset + shift, all.length - shift);
  });

function latin1(parts: readonly Uint8Array[]): string {
  return Buffer.concat(parts).toString("latin1");
}

/** What RFC 5321 §2.3.8 and §4.5.2 ask for, said in one line each. */
function reference(text: string): string {
  const lines = text.replace(/\r\n|\r(?!\n)|\n/gu, "\r\n");
  const ended = lines === "" || lines.endsWith("\r\n") ? lines : `${lines}\r\n`;
  return `${ended.replace(/^\./gmu, "..")}.\r\n`;
}

function sourceOf(chunks: readonly Uint8Array[]): Body {
  return {
    kind: "source",
    size: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    head: chunks[0] ?? new Uint8Array(),
    async *stream() {
      yield* chunks;
    },
  };
}

async function pieces(of: Content): Promise<string> {
  const all: Uint8Array[] = [];
  for await (const piece of contentPieces(of)) all.push(Uint8Array.from(piece));
  return latin1(all);
}

describe("content on the wire", () => {
  test("is dot-stuffed, with CRLF only, and ended", () => {
    fc.assert(
      fc.property(bytes, bytes, (prefix, body) => {
        const piece = wholePiece({ prefix, body: { kind: "bytes", bytes: body } });
        expect(latin1(piece ? [piece] : [])).toBe(reference(latin1([prefix, body])));
      }),
    );
  });

  test("is the same however it is cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(bytes, { maxLength: 5 }), async (chunks) => {
        const of = { prefix: new Uint8Array(), body: sourceOf(chunks) };
        expect(await pieces(of)).toBe(reference(latin1(chunks)));
      }),
    );
  });

  test("plain lines are known by looking at words of four bytes", () => {
    fc.assert(
      fc.property(bytes, fc.constantFrom(0x0a, 0x0d, 0x41), (text, previous) => {
        const before = String.fromCharCode(previous);
        const isClean = !/\r(?!\n)|(?<!\r)\n|\n\./u.test(
          before === "\n" ? `\r\n${latin1([text])}` : `${before}${latin1([text])}`,
        );
        expect(isPlain(text, previous)).toBe(isClean || text.length === 0);
      }),
    );
  });

  test("goes out in one piece up to the limit, and not beyond", () => {
    const line = new Uint8Array(PIECE_BYTES_MAX).fill(0x61);
    expect(
      wholePiece({ prefix: new Uint8Array(), body: { kind: "bytes", bytes: line } }),
    ).toBeDefined();
    const over = { prefix: new Uint8Array(1), body: { kind: "bytes" as const, bytes: line } };
    expect(wholePiece(over)).toBeUndefined();
    expect(contentSize(over)).toBe(PIECE_BYTES_MAX + 1);
  });

  test("arrives byte for byte, whole or streamed", async () => {
    const every = Uint8Array.from({ length: 256 }, (_, byte) => byte).filter(
      (byte) => byte !== 0x0d && byte !== 0x0a,
    );
    const line = Buffer.concat([every, Buffer.from("\r\n.\r\n..x\r\n")]);
    const big = Buffer.concat(Array.from({ length: 4000 }, () => line));
    const expected = reference(latin1([big])).slice(0, -3);
    const chunks = Array.from({ length: Math.ceil(big.length / 7777) }, (_, index) =>
      big.subarray(index * 7777, (index + 1) * 7777),
    );
    for (const of of [content(big), { ...content(""), body: sourceOf(chunks) }]) {
      const peer = await openPeer();
      const relay = relayTo(peer.port);
      const outcomes = await relay.deliver(
        delivery(envelope(["a@x.example"], { content: of })),
        NEVER,
      );
      expect(shown(outcomes)).toEqual(["delivered 250 2.0.0"]);
      expect(peer.transcripts[0]?.messages[0]?.toString("latin1") === expected).toBe(true);
      await relay.close();
      await peer.close();
    }
  });

  test("that cannot be read back defers, and the peer gets no end of data", async () => {
    const peer = await openPeer();
    const relay = relayTo(peer.port);
    const broken: Body = {
      ...sourceOf([]),
      async *stream() {
        yield new Uint8Array(1000).fill(0x61);
        throw new Error("bad sector");
      },
    } as Body;
    const of = envelope(["a@x.example"], { content: { prefix: new Uint8Array(), body: broken } });
    const outcomes = await relay.deliver(delivery(of), NEVER);
    expect(shown(outcomes)).toEqual(["deferred 451 4.3.0"]);
    expect(peer.transcripts[0]?.messages).toEqual([]);
    expect(relay.stats().open).toBe(0);
    await relay.close();
    await peer.close();
  });
});
