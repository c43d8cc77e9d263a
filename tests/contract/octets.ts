import { describe, expect, test } from "bun:test";
import { bodyContent, bytesContent, withPrefix } from "../../src/mail/content.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { bytesOf, envelope } from "../storage/fixtures.ts";
import { type Bench, type OpenStorage, openBench } from "./bench.ts";

const MIB = 1024 * 1024;
/** How often the memory is looked at while a large body passes. */
const LOOK_BYTES = 8 * MIB;
const KIB64 = 64 * 1024;

const repeated = (text: string, times: number) => new TextEncoder().encode(text.repeat(times));

/** What every engine promises of octets: any, none, and more than fit in memory. */
export function octetContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);

  describe(`${name}: octets`, () => {
    const contents: readonly (readonly [string, Uint8Array])[] = [
      ["a NUL", Uint8Array.of(0)],
      ["0xFF alone", Uint8Array.of(0xff)],
      ["no UTF-8", Uint8Array.of(0xc3, 0x28, 0xed, 0xa0, 0x80, 0xf8)],
      ["a bare CR", repeated("\r", 3)],
      ["a bare LF", repeated("\n", 3)],
      ["LF CR", repeated("\n\r", 3)],
      ["dots", repeated(".\r\n..\r\n.\r\n", 2)],
      ["no header", repeated("\r\nno header\r\n", 1)],
      ["no line end", repeated("Subject: x", 1)],
      ["a header only", repeated("Subject: x\r\n", 1)],
      ["one octet less than 64 KiB", repeated("7", KIB64 - 1)],
      ["64 KiB", repeated("8", KIB64)],
      ["one octet more than 64 KiB", repeated("9", KIB64 + 1)],
      ["one octet more than 256 KiB", repeated("a", 4 * KIB64 + 1)],
    ];

    test("any octets come back as they were: in memory and streamed, with and without a prefix", async () => {
      await using at = await opened();
      const prefix = Uint8Array.of(0x58, 0x3a, 0x00, 0xff, 0x0d, 0x0a);
      const whole = contents.flatMap(([what, bytes]) => [
        { what, bytes, content: bytesContent(bytes) },
        {
          what: `${what}, prefixed`,
          bytes: Buffer.concat([prefix, bytes]),
          content: withPrefix(bytesContent(bytes), prefix),
        },
      ]);
      const parts = await Promise.all(
        contents.map(async ([what, bytes]) => {
          return { what: `${what}, streamed`, bytes, content: await streamed(at, bytes) };
        }),
      );
      const ids = await at.storage.write(
        whole.map(({ content }) => envelope({ content })),
        1,
      );
      const more = await Promise.all(
        parts.map(({ content }) => at.storage.write([envelope({ content })], 1)),
      );
      const all = [...ids, ...more.flat()];
      for (const [index, { what, bytes }] of [...whole, ...parts].entries()) {
        const { content } = (await at.storage.get(all[index] ?? "")).envelope;
        expect(Buffer.compare(await bytesOf(content), bytes), what).toBe(0);
      }
      const { bytes } = await at.storage.getInfo();
      expect(bytes).toBe([...whole, ...parts].reduce((sum, each) => sum + each.bytes.length, 0));
    });

    test("two streamed bodies are stored in one write as one is, or refused together", async () => {
      await using at = await opened();
      const bodies = await Promise.all([
        streamed(at, Uint8Array.of(1)),
        streamed(at, Uint8Array.of(2)),
      ]);
      const ids = await at.storage
        .write(
          bodies.map((content) => envelope({ content })),
          1,
        )
        .catch((error: unknown) => {
          expect(error).toBeInstanceOf(QueueError);
          return [];
        });
      expect(await at.listed()).toEqual([...ids]);
      for (const [index, id] of ids.entries()) {
        const { content } = (await at.storage.get(id)).envelope;
        expect(await bytesOf(content)).toEqual(Uint8Array.of(index + 1));
      }
    });

    test("a streamed body may be empty, or come octet by octet, or in one piece", async () => {
      await using at = await opened();
      const all = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
      const pieces = [
        [],
        [...all].map((octet) => Uint8Array.of(octet)),
        [all],
        [new Uint8Array(0)],
      ];
      for (const each of pieces) {
        const sink = await at.storage.openBody();
        for (const piece of each) await sink.write(piece);
        const content = bodyContent(await sink.end());
        const [id = ""] = await at.storage.write([envelope({ content })], 1);
        const stored = (await at.storage.get(id)).envelope.content;
        expect(await bytesOf(stored)).toEqual(new Uint8Array(Buffer.concat(each)));
      }
    });

    test("three bodies of 30 MB at a time pass through and are never in memory whole", async () => {
      await using at = await opened();
      const size = 30 * MIB;
      Bun.gc(true);
      const before = process.memoryUsage.rss();
      let most = 0;
      const look = (): void => {
        Bun.gc(true);
        most = Math.max(most, process.memoryUsage.rss());
      };
      const made = await Promise.all([1, 2, 3].map((seed) => pour(at, size, seed, look)));
      for (const { content, digest } of made) {
        const [id = ""] = await at.storage.write([envelope({ content })], 1);
        const stored = (await at.storage.get(id)).envelope.content.body;
        if (stored.kind !== "source") throw new Error("it should not be in memory whole");
        const seen = new Bun.CryptoHasher("sha256");
        let done = 0;
        for await (const chunk of stored.stream()) {
          seen.update(chunk);
          done += chunk.length;
          if (done % LOOK_BYTES < chunk.length) look();
        }
        expect(done).toBe(size);
        expect(seen.digest("hex")).toBe(digest);
      }
      if (!at.isInMemory) expect((most - before) / MIB).toBeLessThan(60);
    }, 30_000);
  });
}

async function streamed({ storage }: Bench, bytes: Uint8Array) {
  const sink = await storage.openBody();
  await sink.write(bytes);
  return bodyContent(await sink.end());
}

/** A streamed body of this size, different for each seed. */
async function pour({ storage }: Bench, size: number, seed: number, look: () => void) {
  const sink = await storage.openBody();
  const hash = new Bun.CryptoHasher("sha256");
  const block = new Uint8Array(KIB64);
  for (let done = 0; done < size; done += block.length) {
    block.fill((seed * 41 + done / KIB64) % 251);
    hash.update(block);
    await sink.write(block);
    if (done % LOOK_BYTES === 0) look();
  }
  const content = bodyContent(await sink.end());
  return { content, digest: hash.digest("hex") };
}
