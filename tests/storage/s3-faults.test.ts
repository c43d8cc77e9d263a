/** The client of S3 when the store, or the way to it, fails: a proxy in front of a real server, and that server killed. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import type { Credentials } from "../../src/storage/cloud/aws/credentials.ts";
import { renewing } from "../../src/storage/cloud/aws/renewing.ts";
import type { S3Store } from "../../src/storage/cloud/s3/open-s3.ts";
import { CEPH_PEERS, type Ceph, sharedCeph } from "../support/ceph.ts";
import { type HttpFaults, s3Error, startHttpFaults } from "../support/http-faults.ts";
import { describeWithPeers } from "../support/peers.ts";
import { until } from "../support/until.ts";
import { bucketAt, drained, LOGIN, octets, textIn } from "./s3-fixture.ts";

const SHORT = { requestMs: 300, totalMs: 600 };

describeWithPeers(CEPH_PEERS, "S3 that fails", () => {
  let ceph: Ceph;
  let proxy: HttpFaults;
  let bucket: string;
  let store: S3Store;
  beforeAll(async () => {
    ceph = await sharedCeph();
    proxy = await startHttpFaults(ceph.endpoint);
  });
  afterAll(async () => await proxy?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    bucket = await ceph.bucket();
    store = bucketAt(proxy.endpoint, bucket);
    await store.check("probe");
  });
  afterEach(() => proxy.heal());

  const sent = (pattern: RegExp) => proxy.seen.filter((line) => pattern.test(line)).length;
  const own = (key: string) => new RegExp(`PUT /${bucket}/${key}$`, "u");

  test("is asked again where that may help: slow down, errors of its own, and no answer", async () => {
    for (const fault of [
      s3Error(503, "SlowDown"),
      s3Error(500, "InternalError"),
      s3Error(502, "BadGateway"),
      s3Error(400, "RequestTimeout"),
      { kind: "answer", status: 429 },
      { kind: "cut", when: "before" },
      { kind: "cut", when: "after" },
      { kind: "cut", when: "within" },
    ] as const) {
      const said = JSON.stringify(fault);
      proxy.next(/./u, fault);
      await store.put("again", octets(said));
      proxy.next(/./u, fault);
      expect(textIn((await store.get("again"))?.bytes), said).toBe(said);
      proxy.next(/./u, fault);
      expect((await store.list({ prefix: "again", limit: 9 })).objects, said).toHaveLength(1);
      proxy.next(/./u, fault);
      await store.remove(["again", "and again"]);
      expect(await store.get("again"), said).toBeUndefined();
    }
  });

  test("is asked once for a write with a condition, when nobody knows what became of it", async () => {
    let number = 0;
    for (const [fault, isDone] of [
      [s3Error(500, "InternalError"), false],
      [s3Error(504, "GatewayTimeout"), false],
      [{ kind: "cut", when: "before" }, false],
      [{ kind: "cut", when: "after" }, true],
    ] as const) {
      number += 1;
      // The connection that breaks is one that was used before: fetch would like to send it again.
      await store.get("warm");
      proxy.next(own(`once-${number}`), fault);
      const putting = store.put(`once-${number}`, octets("mine"), "absent");
      await expect(putting).rejects.toBeInstanceOf(QueueError);
      expect(sent(own(`once-${number}`)), JSON.stringify(fault)).toBe(1);
      expect((await store.get(`once-${number}`)) !== undefined).toBe(isDone);
    }
  });

  test("is asked again for a write with a condition that it did not do", async () => {
    proxy.next(own("busy"), s3Error(503, "SlowDown"), 3);
    expect(await store.put("busy", octets("mine"), "absent")).toBeString();
    expect(sent(own("busy"))).toBe(4);
    await ceph.crash();
    const direct = bucketAt(ceph.endpoint, bucket);
    const putting = direct.put("down", octets("mine"), "absent");
    await until("a try", () => direct.requests().PUT > 1);
    await ceph.restart();
    expect(await putting).toBeString();
  });

  test("is told about with what it says, and that is temporary", async () => {
    for (const [fault, words, code] of [
      [s3Error(403, "AccessDenied"), "AccessDenied (403) to PUT told", 451],
      [s3Error(404, "NoSuchBucket"), "NoSuchBucket (404) to PUT told", 451],
      [s3Error(403, "QuotaExceeded"), "QuotaExceeded (403) to PUT told", 452],
      [s3Error(507, "InsufficientStorage"), "InsufficientStorage (507) to PUT told", 452],
      [{ kind: "answer", status: 418, body: "<html>" }, "HTTP418 (418) to PUT told", 451],
      [{ kind: "answer", status: 400, body: "<Error><Code>\r\n" }, "HTTP400", 451],
      [s3Error(501, "NotImplemented"), "NotImplemented (501)", 451],
    ] as const) {
      proxy.next(/PUT/u, fault);
      const error = await store.put("told", octets("x")).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(QueueError);
      expect(error.message).toContain(words);
      expect(error.reply.code).toBe(code);
    }
  });

  test("is no bucket that lost its objects when the bucket is gone", async () => {
    const nowhere = bucketAt(ceph.endpoint, "no-such-bucket");
    for (const work of [
      () => nowhere.get("a"),
      () => nowhere.put("a", octets("x"), "absent"),
      () => nowhere.put("a", octets("x"), { version: '"x"' }),
      () => nowhere.remove(["a"]),
      () => nowhere.remove(["a", "b"]),
      () => nowhere.list({ prefix: "", limit: 1 }),
      () => drained(nowhere.stream("a")),
      () => nowhere.upload("a").end(),
    ]) {
      await expect(work()).rejects.toThrow(/NoSuchBucket/u);
    }
  });

  test("refuses a write with a condition by more than one answer", async () => {
    for (const [status, code] of [
      [412, "PreconditionFailed"],
      [409, "ConditionalRequestConflict"],
      [404, "NoSuchKey"],
    ] as const) {
      proxy.next(/PUT/u, s3Error(status, code));
      expect(await store.put("refused", octets("x"), { version: '"x"' })).toBeUndefined();
    }
    expect(await store.get("refused")).toBeUndefined();
  });

  test("takes no longer than an SMTP client waits", async () => {
    const impatient = bucketAt(proxy.endpoint, bucket, { limits: SHORT });
    const held = Promise.withResolvers<void>();
    proxy.next(/./u, { kind: "hold", until: held.promise }, 99);
    const startedAt = performance.now();
    const error = await impatient.put("slow", octets("x")).catch((thrown) => thrown);
    // Far from what it would be without these limits.
    expect(performance.now() - startedAt).toBeLessThan(5000);
    expect(error).toBeInstanceOf(QueueError);
    expect(error.message).toContain("PUT slow of the object store got no answer: it took too long");
    held.resolve();
    proxy.heal();
    await store.put("slow", octets("y"));
  });

  test("is frozen, killed, and there again with all that it confirmed", async () => {
    const patient = bucketAt(ceph.endpoint, bucket);
    const impatient = bucketAt(ceph.endpoint, bucket, { limits: SHORT });
    await patient.put("kept", octets("x"));
    ceph.freeze();
    await expect(impatient.get("kept")).rejects.toThrow(/took too long/u);
    ceph.thaw();
    expect(textIn((await patient.get("kept"))?.bytes)).toBe("x");
    await ceph.crash();
    await expect(impatient.get("kept")).rejects.toThrow(/nobody listens there/u);
    await ceph.restart();
    expect(textIn((await patient.get("kept"))?.bytes)).toBe("x");
  });

  test("gives a stream that goes on where it broke off", async () => {
    const bytes = Buffer.alloc(2_500_000, "0123456789");
    await store.put("stream", bytes);
    proxy.next(/GET/u, { kind: "cut", when: "within" }, 2);
    proxy.next(/GET/u, s3Error(503, "SlowDown"));
    expect(Buffer.compare(await drained(store.stream("stream")), bytes)).toBe(0);
  });

  test("stores an upload whole, or says that it did not", async () => {
    const chunk = new Uint8Array(9 * 1024 * 1024).fill(7);
    proxy.next(/partNumber=1/u, { kind: "cut", when: "after" });
    proxy.next(/partNumber=2/u, s3Error(500, "InternalError"));
    const good = store.upload("good");
    await good.write(chunk);
    await good.end();
    expect(await drained(store.stream("good"))).toHaveLength(chunk.length);

    // An error behind a 200, as S3 sends it when it took long.
    const unlucky = store.upload("unlucky");
    await unlucky.write(chunk);
    const body = "<?xml version='1.0'?><Error><Code>InternalError</Code></Error>";
    proxy.next(/POST.*uploadId/u, { kind: "answer", status: 200, body });
    await expect(unlucky.end()).rejects.toThrow(/InternalError/u);
    await unlucky.abort();
    expect(await store.get("unlucky")).toBeUndefined();

    const unknown = store.upload("unknown");
    await unknown.write(chunk);
    proxy.next(/POST.*uploadId/u, { kind: "cut", when: "after" });
    await expect(unknown.end()).rejects.toBeInstanceOf(QueueError);
    expect(sent(/POST \S*unknown\?uploadId/u)).toBe(1);
  });

  test("does not pass for one that removed what it kept", async () => {
    const kept = "<Error><Key>a</Key><Code>AccessDenied</Code></Error>";
    const body = `<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${kept}</DeleteResult>`;
    proxy.next(/POST/u, { kind: "answer", status: 200, body });
    await expect(store.remove(["a", "b"])).rejects.toThrow(
      /did not remove 1 objects: AccessDenied/u,
    );
    proxy.next(/POST/u, { kind: "answer", status: 200, body: "" });
    await expect(store.remove(["a", "b"])).rejects.toThrow(/cannot be read/u);
    proxy.next(/GET/u, { kind: "answer", status: 200, body: "<ListBucketResult/>" });
    await expect(store.list({ prefix: "", limit: 1 })).rejects.toThrow(/cannot be read/u);
  });

  test("is asked with new credentials when the old ones are over, fetched once for all", async () => {
    let fetched = 0;
    const old: Credentials = { ...LOGIN, secretAccessKey: "over" };
    const load = async () => {
      fetched += 1;
      return LOGIN;
    };
    const credentials = renewing(old, load, realWorld.clock);
    const other = bucketAt(proxy.endpoint, bucket, { credentials });
    proxy.next(/./u, s3Error(400, "ExpiredToken"), 5);
    const keys = ["a", "b", "c", "d", "e"];
    await Promise.all(keys.map((key) => other.put(key, octets(key), "absent")));
    expect(fetched).toBe(1);
    expect((await store.list({ prefix: "", limit: 9 })).objects).toHaveLength(keys.length);
  });

  test("says so when there are no new credentials, and works when there are some again", async () => {
    let isWell = false;
    const load = async () => (isWell ? LOGIN : undefined);
    const credentials = renewing(LOGIN, load, realWorld.clock);
    const other = bucketAt(proxy.endpoint, bucket, { credentials });
    proxy.next(/./u, s3Error(400, "ExpiredToken"), 1);
    await expect(other.put("a", octets("x"))).rejects.toThrow(/cannot get new credentials/u);
    isWell = true;
    const put = () => other.put("a", octets("x")).catch(() => undefined);
    await until("new credentials", put);
  });

  test("is not asked by everybody at once", async () => {
    const narrow = bucketAt(proxy.endpoint, bucket, { limits: { parallelMax: 3 } });
    const held = Promise.withResolvers<void>();
    proxy.next(/PUT/u, { kind: "hold", until: held.promise }, 3);
    const before = proxy.seen.length;
    const puts = Array.from({ length: 9 }, (_, index) => narrow.put(`n${index}`, octets("x")));
    await until("three", () => proxy.seen.length === before + 3);
    expect(narrow.requests().PUT).toBe(3);
    held.resolve();
    await Promise.all(puts);
    expect(narrow.requests().PUT).toBe(9);
  });

  test("lets nobody wait in line for longer than he may wait for an answer", async () => {
    const narrow = bucketAt(proxy.endpoint, bucket, { limits: { ...SHORT, parallelMax: 1 } });
    const held = Promise.withResolvers<void>();
    proxy.next(/PUT/u, { kind: "hold", until: held.promise }, 99);
    const puts = Array.from({ length: 9 }, (_, index) => narrow.put(`l${index}`, octets("x")));
    const settled = await Promise.allSettled(puts);
    held.resolve();
    const said = settled.map((each) => (each.status === "rejected" ? each.reason.message : "done"));
    expect(said).toContain("the object store is asked too much at once");
    expect(said).not.toContain("done");
    // Nine in a row, each with its own time, would be more.
    expect(narrow.requests().PUT).toBeLessThan(9);
  });
});
