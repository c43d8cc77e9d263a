/** The client of S3 on a real server: what ObjectStore promises. */
import { beforeAll, expect, test } from "bun:test";
import { AwsClient } from "aws4fetch";
import { realWorld } from "../../src/lib/world.ts";
import type { ObjectPage } from "../../src/storage/cloud/object-store.ts";
import type { S3Store } from "../../src/storage/cloud/s3/open-s3.ts";
import { CEPH_PEERS, type Ceph, sharedCeph } from "../support/ceph.ts";
import { describeWithPeers } from "../support/peers.ts";
import { seededRandom, testSeed } from "../support/seeded.ts";
import { bucketAt, drained, LOGIN, octets, textIn } from "./s3-fixture.ts";

const MIB = 1024 * 1024;

describeWithPeers(CEPH_PEERS, "objects in S3", () => {
  let ceph: Ceph;
  let bucket: string;
  let store: S3Store;
  beforeAll(async () => {
    ceph = await sharedCeph();
    bucket = await ceph.bucket();
    store = bucketAt(ceph.endpoint, bucket);
    await store.check("probe");
  });

  test("are stored, read and replaced", async () => {
    const first = await store.put("plain", octets("one"));
    expect(await store.get("plain")).toMatchObject({ bytes: octets("one"), version: first });
    const second = await store.put("plain", octets("two!"));
    expect(second).not.toBe(first);
    expect(textIn((await store.get("plain"))?.bytes)).toBe("two!");
    expect(await store.get("nothing")).toBeUndefined();
  });

  test("are read in part", async () => {
    await store.put("range", octets("0123456789"));
    const part = async (start: number, end: number) =>
      textIn((await store.get("range", { start, end }))?.bytes);
    expect(await part(0, 4)).toBe("0123");
    expect(await part(3, 4)).toBe("3");
    expect(await part(8, 99)).toBe("89");
    expect(await part(10, 20)).toBe("");
    await store.put("empty", octets(""));
    expect(await store.get("empty", { start: 0, end: 5 })).toMatchObject({ bytes: octets("") });
    expect(await store.get("nothing", { start: 0, end: 1 })).toBeUndefined();
  });

  test("are made once where nothing was, by one of many", async () => {
    for (let round = 0; round < 3; round += 1) {
      const key = `race-${round}`;
      const tries = Array.from({ length: 20 }, async (_, racer) => {
        return await store.put(key, octets(`racer ${racer}`), "absent");
      });
      const settled = await Promise.allSettled(tries);
      const winners = settled.flatMap((each, racer) => {
        return each.status === "fulfilled" && each.value !== undefined ? [racer] : [];
      });
      expect(winners).toHaveLength(1);
      expect(textIn((await store.get(key))?.bytes)).toBe(`racer ${winners[0]}`);
    }
  });

  test("are replaced only in the version that was seen, by one of many", async () => {
    const seen = String(await store.put("swap", octets("start"), "absent"));
    const tries = Array.from({ length: 20 }, async (_, racer) => {
      return await store.put("swap", octets(`racer ${racer}`), { version: seen });
    });
    const settled = await Promise.allSettled(tries);
    const winners = settled.flatMap((each, racer) => {
      return each.status === "fulfilled" && each.value !== undefined ? [racer] : [];
    });
    // Ceph may answer 500 to those that lose: then nobody knows, and whoever needs to know reads.
    expect(winners).toHaveLength(1);
    const now = await store.get("swap");
    expect(textIn(now?.bytes)).toBe(`racer ${winners[0]}`);
    expect(await store.put("swap", octets("late"), { version: seen })).toBeUndefined();
    expect(await store.put("swap", octets("next"), { version: now?.version ?? "" })).toBeString();
    expect(await store.put("gone", octets("x"), { version: seen })).toBeUndefined();
    expect(await store.put("none", octets(""), "absent")).toBeString();
    expect((await store.get("none"))?.bytes).toHaveLength(0);
    expect(await store.put("much", new Uint8Array(5 * MIB), "absent")).toBeString();
    expect((await store.get("much"))?.bytes).toHaveLength(5 * MIB);
    expect(await store.get("gone")).toBeUndefined();
  });

  test("are listed in the order of their octets, page by page, like a sorted list", async () => {
    const seed = testSeed();
    const random = seededRandom(seed);
    const roll = (count: number) => Math.floor(random() * count);
    const signs = "ab/.-_Z09";
    const made = new Set<string>();
    while (made.size < 60) {
      const length = 1 + roll(6);
      const key = `list/${Array.from({ length }, () => signs[roll(signs.length)]).join("")}x`;
      if (!/\/\.{1,2}\//u.test(key)) made.add(key);
    }
    await Promise.all([...made].map((key) => store.put(key, octets(key))));
    const sorted = [...made].sort();
    const keysOf = ({ objects }: ObjectPage) => objects.map(({ key }) => key);
    for (let step = 0; step < 40; step += 1) {
      const after = roll(4) === 0 ? undefined : `list/${signs[roll(9)]}${signs[roll(9)]}`;
      const prefix = roll(2) === 0 ? "list/" : `list/${signs[roll(9)]}`;
      const limit = 1 + roll(20);
      const page = await store.list({ prefix, limit, ...(after !== undefined && { after }) });
      const all = sorted.filter((key) => key.startsWith(prefix) && key > (after ?? ""));
      const said = `seed ${seed}: prefix ${prefix} after ${after} limit ${limit}`;
      expect(keysOf(page), said).toEqual(all.slice(0, limit));
      expect(page.isMore, said).toBe(all.length > limit);
    }
    const [one] = (await store.list({ prefix: sorted[0] ?? "", limit: 1 })).objects;
    expect(one?.size).toBe(sorted[0]?.length ?? 0);
    expect(Math.abs((one?.storedAt ?? 0) - realWorld.clock.now())).toBeLessThan(60_000);
  });

  test("are removed, one or thousands with few requests", async () => {
    await Promise.all(["r1", "r2", "r3"].map((key) => store.put(key, octets(key))));
    await store.remove([]);
    await store.remove(["r1"]);
    await store.remove(["r1"]);
    const before = store.requests();
    const missing = Array.from({ length: 1500 }, (_, index) => `missing-${index}`);
    await store.remove(["r2", ...missing, "r3"]);
    expect(store.requests().POST - before.POST).toBe(2);
    expect((await store.list({ prefix: "r", limit: 9 })).objects.map(({ key }) => key)).toEqual(
      (await store.list({ prefix: "race-", limit: 9 })).objects
        .map(({ key }) => key)
        .concat("range"),
    );
  });

  test("stream from anywhere, in pieces", async () => {
    const bytes = Buffer.alloc(2.5 * MIB, "0123456789");
    await store.put("stream", bytes);
    expect(Buffer.compare(await drained(store.stream("stream")), bytes)).toBe(0);
    const from = MIB + 17;
    expect(Buffer.compare(await drained(store.stream("stream", from)), bytes.subarray(from))).toBe(
      0,
    );
    expect(await drained(store.stream("stream", bytes.length))).toHaveLength(0);
    expect(await drained(store.stream("empty"))).toHaveLength(0);
    await expect(drained(store.stream("nothing"))).rejects.toThrow(/not in the object store/u);
  });

  test("are not mixed when they are replaced while somebody reads", async () => {
    await store.put("mixed", Buffer.alloc(2 * MIB, "a"));
    const stream = store.stream("mixed")[Symbol.asyncIterator]();
    await stream.next();
    await store.put("mixed", Buffer.alloc(2 * MIB, "b"));
    await expect(stream.next()).rejects.toThrow(/replaced/u);
  });

  test("are uploaded at once when they are small, in parts when not", async () => {
    const small = store.upload("small");
    const before = store.requests();
    await small.write(octets("hel"));
    await small.write(octets("lo"));
    await small.end();
    expect(store.requests().PUT - before.PUT).toBe(1);
    expect(store.requests().POST).toBe(before.POST);
    expect(textIn((await store.get("small"))?.bytes)).toBe("hello");

    const large = store.upload("large");
    const expected = new Bun.CryptoHasher("sha256");
    const chunk = new Uint8Array(3 * MIB + 1);
    for (let round = 0; round < 6; round += 1) {
      // The same buffer again and again, as somebody who reads from a socket has it.
      chunk.fill(65 + round);
      expected.update(chunk);
      await large.write(chunk);
    }
    expect(await store.get("large")).toBeUndefined();
    await large.end();
    const found = await drained(store.stream("large"));
    expect(found).toHaveLength(6 * chunk.length);
    expect(new Bun.CryptoHasher("sha256").update(found).digest("hex")).toBe(expected.digest("hex"));
    await large.abort();
    expect(await store.get("large", { start: 0, end: 1 })).toBeDefined();
  });

  test("are not there when their upload is given up", async () => {
    const upload = store.upload("given-up");
    await upload.write(new Uint8Array(9 * MIB));
    await upload.abort();
    await upload.abort();
    expect(await store.get("given-up")).toBeUndefined();
    // Its parts would be paid for.
    const client = new AwsClient({ ...LOGIN, service: "s3", region: "us-east-1" });
    const left = await (await client.fetch(`${ceph.endpoint}/${bucket}?uploads`)).text();
    expect(left).toContain("ListMultipartUploadsResult");
    expect(left).not.toContain("given-up");
    const started = bucketAt(ceph.endpoint, bucket).upload("never");
    await started.abort();
  });

  test("may be called by any text", async () => {
    const keys = ["!'()*~", "a+b c", "%2F%", "&=?#;:@$,", "ä/語", '<"x">', "[a]{b}|\\^`"];
    for (const key of keys) await store.put(`name/${key}`, octets(key));
    for (const key of keys) {
      expect(textIn((await store.get(`name/${key}`))?.bytes)).toBe(key);
    }
    const { objects } = await store.list({ prefix: "name/", limit: 99 });
    expect(new Set(objects.map(({ key }) => key))).toEqual(
      new Set(keys.map((key) => `name/${key}`)),
    );
    const after = await store.list({ prefix: "name/a+", after: "name/a+b", limit: 9 });
    expect(after.objects.map(({ key }) => key)).toEqual(["name/a+b c"]);
    await store.remove(keys.map((key) => `name/${key}`));
    expect((await store.list({ prefix: "name/", limit: 99 })).objects).toEqual([]);
  });

  test("are not called by what URLs take for a step up", async () => {
    for (const key of [".", "..", "a/../b", "a/./b", "../a", "a/.."]) {
      await expect(store.put(key, octets("x"))).rejects.toThrow(/no key/u);
      await expect(store.get(key)).rejects.toThrow(/no key/u);
    }
  });

  test("are the same where the bucket is named in the host", async () => {
    const endpoint = ceph.endpoint.replace("127.0.0.1", "localhost");
    const other = bucketAt(endpoint, bucket, { isPathStyle: false });
    await other.put("hosted/a", octets("from the host"));
    expect(textIn((await store.get("hosted/a"))?.bytes)).toBe("from the host");
    expect((await other.list({ prefix: "hosted/", limit: 9 })).objects).toHaveLength(1);
    await other.remove(["hosted/a", "hosted/b"]);
    expect(await store.get("hosted/a")).toBeUndefined();
  });

  test("are for a node whose clock is wrong, too", async () => {
    for (const wrong of [3_600_000, -86_400_000]) {
      const clock = { ...realWorld.clock, now: () => realWorld.clock.now() + wrong };
      const other = bucketAt(ceph.endpoint, bucket, { world: { ...realWorld, clock } });
      await other.put("late", octets("but here"));
      expect(textIn((await other.get("late"))?.bytes)).toBe("but here");
      expect(Math.abs(other.clockDifferenceMs() + wrong)).toBeLessThan(1500);
    }
    expect(Math.abs(store.clockDifferenceMs())).toBeLessThan(1000);
  });

  test("cost what is counted", async () => {
    const other = bucketAt(ceph.endpoint, bucket);
    await other.put("bill", octets("1"));
    await other.get("bill");
    await other.get("nothing");
    await other.get("empty", { start: 0, end: 1 });
    await other.list({ prefix: "bill", limit: 1 });
    await other.remove(["bill"]);
    await other.remove(["bill", "bell"]);
    expect(other.requests()).toEqual({ PUT: 1, GET: 3, HEAD: 1, LIST: 1, DELETE: 1, POST: 1 });
  });
});
