import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { bytesContent } from "../../src/mail/content.ts";
import { encodeFileHeader, writeBlockHeader } from "../../src/storage/disk/segment.ts";
import { envelope, idOf } from "../storage/fixtures.ts";
import { tempDir } from "../support/temp-dir.ts";
import { bytesOf } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";
import { check, type Known, live, openSpoolAt } from "./support/spools.ts";

const dir = tempDir("fuzz-forged");
afterAll(() => dir[Symbol.asyncDispose]());

const SALT = 12_345;
const SEGMENT = "content/00000000/0000000001.seg";

interface ForgedBlock {
  readonly type: "BODY" | "ENVL" | "DONE";
  readonly payload: Uint8Array;
  /** What the header says instead of the truth. */
  readonly length?: number;
  readonly salt?: number;
}

function block({ type, payload, length = payload.length, salt = SALT }: ForgedBlock): Uint8Array {
  const bytes = new Uint8Array(24 + payload.length);
  writeBlockHeader(bytes, 0, { type, length, crc: crc32(payload), salt });
  bytes.set(payload, 24);
  return bytes;
}

function envl(json: unknown, lengthSaid?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof json === "string" ? json : JSON.stringify(json));
  const payload = new Uint8Array(4 + text.length);
  new DataView(payload.buffer).setUint32(0, lengthSaid ?? text.length);
  payload.set(text, 4);
  return block({ type: "ENVL", payload });
}

const BODY = block({ type: "BODY", payload: bytesOf("the body") });
const DONE = block({ type: "DONE", payload: new Uint8Array() });
const HEADER = encodeFileHeader({ kind: "accepted", number: 1, salt: SALT });

/** A record as this version writes it. */
const GOOD = {
  version: 1,
  id: idOf(1),
  sender: "sender@example.org",
  recipients: [{ address: "one@example.com" }],
  client: { ip: "192.0.2.1", host: "h", name: "n", protocol: "ESMTP" },
  receiver: "mx.example",
  receivedAt: 1,
  due: 1,
  body: [24, 8],
};
const known = new Map<string, Known>([
  [
    GOOD.id,
    {
      id: GOOD.id,
      sender: GOOD.sender,
      recipients: ["one@example.com"],
      text: "the body",
      file: SEGMENT,
      ranges: [],
    },
  ],
]);

/** What the engine makes of a spool that holds just this file, as after a crash behind the rename. */
async function outcome(bytes: Uint8Array, expected: ReadonlyMap<string, Known> = known) {
  const spool = dir.join(`spool-${Math.trunc(performance.now() * 1000)}`);
  try {
    await (await openSpoolAt(spool)).close();
    for (const suffix of ["", "-wal", "-shm"])
      fs.rmSync(`${spool}/queue.db${suffix}`, { force: true });
    fs.mkdirSync(`${spool}/content/00000000`);
    fs.writeFileSync(`${spool}/${SEGMENT}`, bytes);
    const life = await live(spool, expected);
    expect(await check(spool, false)).toMatchObject({ damage: 0 });
    return life;
  } finally {
    fs.rmSync(spool, { recursive: true, force: true });
  }
}

const hostile: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    0,
    1.5,
    1e300,
    2 ** 53,
    "",
    "../../x",
    "\u001b[2J",
    [],
    {},
    [null],
    [[]],
    [-1, -1],
    [24, 1e15],
    [1e15, 8],
    [24, 7],
    ["24", "8"],
    [{ address: null }],
    [{ address: "a@b", notify: "NEVER" }],
    [{ address: "a@b", orcpt: 1 }],
    { ip: 1 },
    { id: 1 },
    { id: "x", settlement: { due: "x" } },
    { id: idOf(1), settlement: { recipients: [{ index: 0, status: "nonsense" }] } },
    "x".repeat(10_000),
  ),
  fc.jsonValue({ maxDepth: 3 }),
);
const KEYS = [
  ...Object.keys(GOOD),
  "dsn",
  "eightBit",
  "smtpUtf8",
  "settles",
  "__proto__",
  "constructor",
  "extra",
];

describe("records that are forged, with the right checksums", () => {
  test("the form of the test is right: one that is not forged comes out", async () => {
    const life = await outcome(bytesOf(HEADER, BODY, envl(GOOD), DONE));
    expect([...life.found]).toEqual([GOOD.id]);
  });

  test(
    "are understood or moved aside; nothing is thrown, and the neighbour comes out",
    async () => {
      const forged = fc.dictionary(fc.constantFrom(...KEYS), hostile, { minKeys: 1, maxKeys: 3 });
      await rounds(1, async (_, seed) => {
        const property = fc.asyncProperty(forged, async (changes) => {
          const bad = { ...GOOD, id: idOf(2), ...changes };
          const expected = new Map(known);
          // A change that makes no difference, or one of another meaning that is sound: it says who it is.
          const id = typeof bad.id === "string" ? bad.id : "";
          const life = await forgiving(
            bytesOf(HEADER, BODY, envl(bad), envl(GOOD), DONE),
            expected,
            id,
          );
          expect(life.found).toContain(GOOD.id);
          expect(Object.keys(Object.prototype)).toEqual([]);
        });
        await fc.assert(property, { numRuns: 25, seed });
      });
    },
    FUZZ_TIMEOUT_MS,
  );

  /** As `outcome`, where the forged record may come out as what it says. */
  async function forgiving(
    bytes: Uint8Array,
    expected: ReadonlyMap<string, Known>,
    forged: string,
  ) {
    try {
      return await outcome(bytes, expected);
    } catch (error) {
      if (error instanceof Error && error.message.startsWith(`${forged} was never accepted`))
        return { found: new Set([GOOD.id]) };
      throw error;
    }
  }

  const layouts: Record<string, () => Uint8Array> = {
    "a record that is longer than it may be": () =>
      bytesOf(
        HEADER,
        BODY,
        block({ type: "ENVL", payload: bytesOf("x"), length: 2 ** 40 }),
        envl(GOOD),
        DONE,
      ),
    "a body that is longer than the file": () =>
      bytesOf(
        HEADER,
        BODY,
        block({ type: "BODY", payload: bytesOf("x"), length: 2 ** 52 }),
        envl(GOOD),
        DONE,
      ),
    "JSON that is longer than its record": () =>
      bytesOf(HEADER, BODY, envl({ ...GOOD, id: idOf(3) }, 2 ** 32 - 1), envl(GOOD), DONE),
    "JSON in JSON in JSON": () =>
      bytesOf(HEADER, BODY, envl(`${"[".repeat(200_000)}`), envl(GOOD), DONE),
    "JSON in JSON in JSON that ends": () =>
      bytesOf(HEADER, BODY, envl(`${"[".repeat(50_000)}${"]".repeat(50_000)}`), envl(GOOD), DONE),
    "thousands of records of nothing": () =>
      bytesOf(
        HEADER,
        BODY,
        ...Array.from({ length: 3000 }, () => block({ type: "ENVL", payload: new Uint8Array() })),
        envl(GOOD),
        DONE,
      ),
    "a payload too short for its length": () =>
      bytesOf(HEADER, BODY, block({ type: "ENVL", payload: bytesOf("x") }), envl(GOOD), DONE),
    "a version to come": () =>
      bytesOf(HEADER, BODY, envl({ ...GOOD, id: idOf(3), version: 2 }), envl(GOOD), DONE),
    "the same record twice": () => bytesOf(HEADER, BODY, envl(GOOD), envl(GOOD), DONE),
    "a settlement of itself": () =>
      bytesOf(HEADER, BODY, envl({ ...GOOD, settles: { id: idOf(9), settlement: {} } }), DONE),
    "blocks of another salt": () =>
      bytesOf(
        HEADER,
        BODY,
        block({ type: "DONE", payload: new Uint8Array(), salt: 1 }),
        envl(GOOD),
        DONE,
      ),
  };
  for (const [name, make] of Object.entries(layouts)) {
    test(`${name}: the neighbour comes out`, async () => {
      expect(await outcome(make())).toMatchObject({ found: new Set([GOOD.id]) });
    });
  }

  test("a record that claims gigabytes which the file has costs no memory", async () => {
    const spool = dir.join("sparse");
    await (await openSpoolAt(spool)).close();
    for (const suffix of ["", "-wal", "-shm"])
      fs.rmSync(`${spool}/queue.db${suffix}`, { force: true });
    fs.mkdirSync(`${spool}/content/00000000`);
    const claims = block({ type: "ENVL", payload: new Uint8Array(), length: 3 * 2 ** 30 });
    fs.writeFileSync(`${spool}/${SEGMENT}`, bytesOf(HEADER, BODY, claims, envl(GOOD), DONE));
    // Nothing but holes: the file is as long as the claim.
    fs.truncateSync(`${spool}/${SEGMENT}`, 160 * 2 ** 20);
    const life = await live(spool, known);
    expect([...life.found]).toEqual([GOOD.id]);
    fs.rmSync(spool, { recursive: true, force: true });
  });
});

describe("a record that a sender has written into a body", () => {
  const forged = bytesOf(
    block({ type: "BODY", payload: bytesOf("evil"), salt: 666 }),
    block({ type: "ENVL", payload: recordOf(), salt: 666 }),
    block({ type: "DONE", payload: new Uint8Array(), salt: 666 }),
  );

  function recordOf(): Uint8Array {
    const text = new TextEncoder().encode(
      JSON.stringify({ ...GOOD, id: idOf(66), body: [5000, 4] }),
    );
    const payload = new Uint8Array(4 + text.length);
    new DataView(payload.buffer).setUint32(0, text.length);
    payload.set(text, 4);
    return payload;
  }

  for (const zeros of [24, 48, 512, 4096]) {
    test(`is not taken for one when the first ${zeros} octets of the file are gone, and the neighbour comes out`, async () => {
      const spool = dir.join(`hidden-${zeros}`);
      const storage = await openSpoolAt(spool);
      const body = bytesOf(new Uint8Array(5000).fill(0x20), forged, "\r\n");
      const both = [envelope({ content: bytesContent(body) }), envelope({ text: "the neighbour" })];
      await storage.write(both, 1, { ids: [idOf(7), idOf(8)] });
      await storage.close();
      for (const suffix of ["", "-wal", "-shm"])
        fs.rmSync(`${spool}/queue.db${suffix}`, { force: true });
      const bytes = fs.readFileSync(`${spool}/${SEGMENT}`);
      fs.writeFileSync(`${spool}/${SEGMENT}`, bytes.fill(0, 0, zeros));
      const all = new Map<string, Known>(
        [
          [idOf(7), Buffer.from(body).toString("latin1")] as const,
          [idOf(8), "the neighbour"] as const,
        ].map(([id, text]) => [
          id,
          {
            id,
            sender: "sender@example.org",
            recipients: ["one@example.com"],
            text,
            file: SEGMENT,
            ranges: [],
          },
        ]),
      );
      const life = await live(spool, all);
      expect(life.found).toContain(idOf(8));
      expect(life.corrupt).toBeGreaterThan(0);
    });
  }
});
