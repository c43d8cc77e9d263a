/** What is found out about a store at the start, and what is said when it cannot be used. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { exitCodeOf, startError } from "../../src/app/start-error.ts";
import { exit } from "../../src/lib/sysexits.ts";
import { realWorld } from "../../src/lib/world.ts";
import { openClients } from "../../src/storage/cloud/clients.ts";
import type { S3Limits } from "../../src/storage/cloud/s3/requests.ts";
import { readS3Url } from "../../src/storage/cloud/s3-url.ts";
import { ACCESS_KEY, CEPH_PEERS, type Ceph, SECRET_KEY, sharedCeph } from "../support/ceph.ts";
import { makeCertificate } from "../support/certificate.ts";
import { freePort } from "../support/free-port.ts";
import { type HttpFaults, s3Error, startHttpFaults } from "../support/http-faults.ts";
import { describeWithPeers } from "../support/peers.ts";
import { openRecorder } from "../support/recorder.ts";
import { startSqs } from "../support/sqs.ts";
import { tempDir } from "../support/temp-dir.ts";
import { bucketAt } from "./s3-fixture.ts";

const LOGIN = `${ACCESS_KEY}:${SECRET_KEY}`;
const PASSES = { kind: "hold", until: Promise.resolve() } as const;
/** What fails is not tried for long. */
const SHORT = { totalMs: 300 };
const SHORTEST = { requestMs: 500, totalMs: 300 };

/** Opens what the URL names, as the engine does. */
async function opened(
  url: string,
  env: Readonly<Record<string, string>> = {},
  limits: Partial<S3Limits> = SHORT,
) {
  const reading = readS3Url(url);
  if (reading === undefined || !("address" in reading)) throw new Error(JSON.stringify(reading));
  const { address } = reading;
  const { emit } = openRecorder();
  const options = { address, env, probeKey: "queue/probe", limits };
  return await openClients(options, { world: realWorld, emit });
}

/** What an operator sees of a start that fails: the words and the exit code. */
async function failure(...asked: Parameters<typeof opened>) {
  const error = await opened(...asked).then(
    () => new Error("it works"),
    (thrown: Error) => thrown,
  );
  return { said: startError(error), code: exitCodeOf(error) };
}

describeWithPeers(CEPH_PEERS, "a store of S3 at the start", () => {
  let ceph: Ceph;
  let proxy: HttpFaults;
  let bucket: string;
  beforeAll(async () => {
    ceph = await sharedCeph();
    proxy = await startHttpFaults(ceph.endpoint);
    bucket = await ceph.bucket();
  });
  afterAll(async () => await proxy?.[Symbol.asyncDispose]());

  test("is tried out and left as it was", async () => {
    const { traits, store, wakeUp } = await opened(ceph.url(bucket));
    expect(traits).toEqual({ isConditional: true, etagForm: "bare" });
    expect(wakeUp).toBeUndefined();
    expect((await store.list({ prefix: "", limit: 9 })).objects).toEqual([]);
    const version = String(await store.put("a", new Uint8Array(1)));
    expect(await store.put("a", new Uint8Array(2), { version })).toBeString();
    await store.remove(["a"]);
  });

  test("takes credentials and the region from the environment, too", async () => {
    const url = `s3://${bucket}?endpoint=${ceph.endpoint}`;
    const env = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY };
    await opened(url, { ...env, AWS_REGION: "eu-west-1" });
    const { said, code } = await failure(url, { ...env, AWS_SECRET_ACCESS_KEY: "hush" });
    expect(said).toContain("the secret key is wrong (SignatureDoesNotMatch)");
    expect(said).not.toContain("hush");
    expect(code).toBe(exit.config);
  });

  test("says what somebody has to change", async () => {
    for (const [url, words] of [
      [ceph.url("no-such-bucket"), /no-such-bucket at http:\S+: there is no such bucket/u],
      [`s3://nobody:hush@${bucket}?endpoint=${ceph.endpoint}`, /does not know this access key/u],
      [`s3://${ACCESS_KEY}:hush@${bucket}?endpoint=${ceph.endpoint}`, /secret key is wrong/u],
      [`s3://${LOGIN}@${bucket}?endpoint=https://127.0.0.1:${ceph.port}`, /TLS/u],
      [
        `s3://${LOGIN}@${bucket}?endpoint=${ceph.endpoint}&ca_file=/nowhere`,
        /cannot read ca_file/u,
      ],
    ] as const) {
      const { said, code } = await failure(url);
      expect(said).toMatch(words);
      expect(said).not.toContain("hush");
      expect(said).not.toContain(SECRET_KEY);
      expect(code, url).toBe(exit.config);
    }
  });

  test("says which region is right, and what else other stores answer", async () => {
    const url = `s3://${LOGIN}@${bucket}?endpoint=${proxy.endpoint}&region=us-east-1`;
    const region = "<Region>eu-central-1</Region>";
    const header = { "x-amz-bucket-region": "eu-central-1" };
    for (const [fault, words, exitCode] of [
      [
        s3Error(400, "AuthorizationHeaderMalformed", region),
        /add region=eu-central-1/u,
        exit.config,
      ],
      [{ kind: "answer", status: 301, headers: header }, /add region=eu-central-1/u, exit.config],
      [s3Error(301, "PermanentRedirect"), /somewhere else/u, exit.config],
      [s3Error(403, "AccessDenied"), /may not list, read, write and remove/u, exit.config],
      [s3Error(400, "InvalidToken"), /session token is wrong/u, exit.config],
      [s3Error(400, "ExpiredToken"), /session token is over/u, exit.config],
      [s3Error(405, "MethodNotAllowed"), /MethodNotAllowed \(405\)/u, exit.config],
      [{ kind: "answer", status: 404, body: "<html>" }, /HTTP404 \(404\)/u, exit.config],
      // These pass by themselves.
      [s3Error(503, "SlowDown"), /SlowDown/u, exit.cannotCreate],
      [s3Error(500, "InternalError"), /InternalError/u, exit.cannotCreate],
    ] as const) {
      proxy.next(/./u, fault, 99);
      const { said, code } = await failure(url);
      proxy.heal();
      expect(said).toMatch(words);
      expect(code, said).toBe(exitCode);
    }
    // Reading is allowed, writing is not.
    proxy.next(/PUT/u, s3Error(403, "AccessDenied"));
    expect((await failure(url)).said).toContain("may not list, read, write and remove");
    proxy.heal();
    proxy.next(/DELETE/u, s3Error(403, "AccessDenied"));
    expect((await failure(url)).code).toBe(exit.config);
    proxy.heal();
  });

  test("that nobody reaches is unavailable", async () => {
    const { said, code } = await failure(
      `s3://${LOGIN}@${bucket}?endpoint=http://127.0.0.1:${await freePort()}`,
    );
    expect(said).toMatch(/cannot use the bucket \S+ at http:\S+: .*nobody listens there/u);
    expect(code).toBe(exit.unavailable);
    const held = Promise.withResolvers<void>();
    proxy.next(/./u, { kind: "hold", until: held.promise }, 99);
    const url = `s3://${LOGIN}@${bucket}?endpoint=${proxy.endpoint}`;
    const slow = await failure(url, {}, SHORTEST);
    held.resolve();
    proxy.heal();
    expect(slow.said).toContain("it took too long");
    expect(slow.code).toBe(exit.unavailable);
  });

  test("without conditions is seen through: ignored, not known, or half known", async () => {
    await using fauxqs = await startSqs();
    const made = await fetch(`${fauxqs.endpoint}/ignores`, { method: "PUT" });
    expect(made.status).toBe(200);
    const ignoring = await opened(`s3://k:s@ignores?endpoint=${fauxqs.endpoint}`);
    expect(ignoring.traits.isConditional).toBe(false);

    const url = `s3://${LOGIN}@${bucket}?endpoint=${proxy.endpoint}`;
    const isConditional = async () => (await opened(url)).traits.isConditional;
    expect(await isConditional()).toBe(true);
    // The first PUT of the check has no condition.
    const later = (count: number) => proxy.next(/PUT/u, PASSES, count);
    later(1);
    proxy.next(/PUT/u, s3Error(501, "NotImplemented"), 3);
    expect(await isConditional()).toBe(false);
    proxy.heal();
    // If-None-Match is obeyed, and neither form of If-Match.
    later(2);
    proxy.next(/PUT/u, s3Error(412, "PreconditionFailed"), 9);
    expect(await isConditional()).toBe(false);
    proxy.heal();
    // The stale version is taken as well.
    later(4);
    proxy.next(/PUT/u, { kind: "answer", status: 200, headers: { etag: '"x"' } }, 9);
    expect(await isConditional()).toBe(false);
    proxy.heal();
  });

  test("whose answer to a condition is lost is not taken for one without", async () => {
    const url = `s3://${LOGIN}@${bucket}?endpoint=${proxy.endpoint}`;
    for (const before of [1, 2, 3]) {
      proxy.next(/PUT/u, PASSES, before);
      proxy.next(/PUT/u, { kind: "cut", when: "after" });
      expect((await failure(url, {}, {})).code, `answer ${before + 1}`).toBe(exit.unavailable);
      proxy.heal();
    }
  });

  test("is told versions as it wants them", async () => {
    const url = `s3://${LOGIN}@${bucket}?endpoint=${proxy.endpoint}`;
    proxy.next(/PUT/u, PASSES, 2);
    // This one takes a quoted version, and refuses a stale one.
    proxy.next(/PUT/u, { kind: "answer", status: 200, headers: { etag: '"x"' } });
    const { traits } = await opened(url);
    expect(traits).toEqual({ isConditional: true, etagForm: "quoted" });
    proxy.heal();
  });

  test("talks TLS to whom the file says", async () => {
    await using dir = tempDir("s3-tls");
    const tls = await makeCertificate("localhost");
    await Bun.write(dir.join("ca.pem"), tls.cert);
    await using secure = await startHttpFaults(ceph.endpoint, tls);
    const endpoint = secure.endpoint.replace("127.0.0.1", "localhost");
    const url = `s3://${LOGIN}@${bucket}?endpoint=${endpoint}`;
    const { store } = await opened(`${url}&ca_file=${dir.join("ca.pem")}`);
    await store.put("tls/a", new Uint8Array(5));
    expect((await bucketAt(ceph.endpoint, bucket).get("tls/a"))?.bytes).toHaveLength(5);
    const { said, code } = await failure(url);
    expect(said).toContain("self");
    expect(code).toBe(exit.config);
  });
});
