/** News through a real queue of SQS that loses, repeats and refuses. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { fixedCredentials } from "../../src/storage/cloud/aws/credentials.ts";
import { openSqs } from "../../src/storage/cloud/sqs/open-sqs.ts";
import type { News, WakeUp } from "../../src/storage/cloud/wake-up.ts";
import { StoreConfigError } from "../../src/storage/store-config-error.ts";
import { freePort } from "../support/free-port.ts";
import type { Fault } from "../support/http-faults.ts";
import { openRecorder } from "../support/recorder.ts";
import { type SqsServer, startSqs } from "../support/sqs.ts";
import { until } from "../support/until.ts";

const news = (...ids: readonly string[]): News[] =>
  ids.map((id, index) => ({ id, timestamp: 1_800_000_000_000 + index }));

/** An error as SQS says it. */
function sqsError(status: number, code: string): Fault {
  const body = JSON.stringify({ __type: `com.amazonaws.sqs#${code}`, message: "so it is" });
  return { kind: "answer", status, body };
}

describe("SQS", () => {
  let server: SqsServer;
  let queue: string;
  let made = 0;
  let recorder = openRecorder();
  const all: WakeUp[] = [];
  const never = new AbortController().signal;
  beforeAll(async () => {
    server = await startSqs();
  });
  afterAll(async () => await server?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    made += 1;
    queue = await server.queue(`wake-${made}`);
    recorder = openRecorder();
  });
  afterEach(async () => {
    server.faults.heal();
    for (const each of all.splice(0)) await each.close();
  });

  async function opened(name = queue, endpoint = server.endpoint): Promise<WakeUp> {
    const credentials = fixedCredentials({ accessKeyId: "k", secretAccessKey: "hush" });
    const { clock } = realWorld;
    const place = { queue: name, endpoint, region: "us-east-1" };
    const { emit } = recorder;
    const wakeUp = await openSqs({ ...place, credentials, clock, now: clock.now, emit });
    all.push(wakeUp);
    return wakeUp;
  }
  const warnings = () => recorder.all("lifecycle").map(({ text }) => text);
  const sent = (action: string) =>
    server.faults.seen.filter((line) => line === `POST / ${action}`).length;
  /** Listens until so much is there. */
  async function heard(wakeUp: WakeUp, count: number): Promise<string[]> {
    const ids: string[] = [];
    while (ids.length < count) ids.push(...(await wakeUp.listen(never)).map(({ id }) => id));
    return ids;
  }

  test("wakes one who listens, at once", async () => {
    const [teller, listener] = [await opened(), await opened()];
    const listening = listener.listen(never);
    const startedAt = performance.now();
    teller.tell(news("a"));
    expect(await listening).toEqual(news("a"));
    expect(performance.now() - startedAt).toBeLessThan(2000);
    await until("the removal", async () => sent("DeleteMessageBatch") > 0);
    expect(await server.waiting(queue)).toBe(0);
    expect(warnings()).toEqual([]);
  });

  test("finds the queue by its name", async () => {
    const wakeUp = await opened(`wake-${made}`);
    wakeUp.tell(news("a", "b"));
    expect(await heard(wakeUp, 2)).toEqual(["a", "b"]);
  });

  test("carries much with few calls, spread over many messages", async () => {
    const wakeUp = await opened();
    const before = sent("SendMessageBatch");
    const ids = Array.from({ length: 500 }, (_, index) => `m${index}`);
    wakeUp.tell(news(...ids));
    await until("all", async () => (await server.waiting(queue)) === 10);
    expect(sent("SendMessageBatch") - before).toBe(1);
    expect((await heard(wakeUp, 500)).sort()).toEqual(ids.sort());
  });

  test("drops what is too much, and never waits", async () => {
    const wakeUp = await opened();
    const held = Promise.withResolvers<void>();
    server.faults.next(/SendMessageBatch/u, { kind: "hold", until: held.promise });
    for (let round = 0; round < 30; round += 1) {
      wakeUp.tell(news(...Array.from({ length: 100 }, (_, index) => `r${round}-${index}`)));
    }
    held.resolve();
    expect(await heard(wakeUp, 1000)).toHaveLength(1000);
    wakeUp.tell(news("then"));
    expect(await heard(wakeUp, 1)).toEqual(["then"]);
  });

  test("may lose and repeat", async () => {
    const wakeUp = await opened();
    const body = JSON.stringify({ Successful: [{ Id: "0" }], Failed: [] });
    server.faults.next(/SendMessageBatch/u, { kind: "answer", status: 200, body });
    wakeUp.tell(news("lost"));
    await until("the call", () => sent("SendMessageBatch") > 0);
    server.faults.next(/SendMessageBatch/u, { kind: "repeat" });
    wakeUp.tell(news("twice"));
    expect(await heard(wakeUp, 2)).toEqual(["twice", "twice"]);
    expect(warnings()).toEqual([]);
  });

  test("makes nothing of what others put there", async () => {
    const wakeUp = await opened();
    for (const body of ["{}", "a", "a b", "../x 5", "x 1\ngood 2\ny", `${"x".repeat(65)} 1`]) {
      await server.send(queue, body);
    }
    expect(await heard(wakeUp, 2)).toEqual(["x", "good"]);
    await until("they are gone", async () => (await server.waiting(queue)) === 0);
  });

  test("that fails harms nobody: told once, listened to again and again, and told when it is over", async () => {
    const wakeUp = await opened();
    server.faults.next(/./u, sqsError(503, "ServiceUnavailable"), 99);
    wakeUp.tell(news("lost"));
    // Whoever waits is to look by himself meanwhile.
    expect(await wakeUp.listen(never)).toEqual([]);
    expect(await wakeUp.listen(never)).toEqual([]);
    expect(warnings().sort()).toEqual([
      expect.stringMatching(/^receiving from the queue \S+ fails, .*ServiceUnavailable/u),
      expect.stringMatching(/^sending to the queue \S+ fails, .*ServiceUnavailable/u),
    ]);
    server.faults.heal();
    wakeUp.tell(news("again"));
    expect(await heard(wakeUp, 1)).toContain("again");
    await until("both", () => warnings().length === 4);
    expect(
      warnings()
        .slice(2)
        .every((text) => text.endsWith("works again")),
    ).toBe(true);
  });

  test("is left alone in the middle of waiting when nobody listens any more", async () => {
    const wakeUp = await opened();
    const stop = new AbortController();
    const listening = wakeUp.listen(stop.signal);
    const reason = new Error("enough");
    stop.abort(reason);
    await expect(listening).rejects.toBe(reason);
    await expect(wakeUp.listen(stop.signal)).rejects.toBe(reason);
    expect(warnings()).toEqual([]);
  });

  test("hears what was told before it was closed, and nothing behind that", async () => {
    const [teller, listener] = [await opened(), await opened()];
    teller.tell(news("last-words"));
    await teller.close();
    teller.tell(news("too-late"));
    expect(await heard(listener, 1)).toEqual(["last-words"]);
    expect(await server.waiting(queue)).toBe(0);
    await teller.close();
    // Who listens on is not to spin.
    const stop = new AbortController();
    const listening = teller.listen(stop.signal);
    expect(
      await Promise.race([listening, new Promise((next) => setImmediate(() => next(undefined)))]),
    ).toBeUndefined();
    stop.abort(new Error("enough"));
    await expect(listening).rejects.toThrow("enough");
  });

  test("that is set up wrongly is told at the start", async () => {
    for (const [fault, words] of [
      [sqsError(403, "AccessDeniedException"), /grant sqs:GetQueueUrl, SendMessage/u],
      [sqsError(403, "InvalidClientTokenId"), /nobody knows this access key/u],
      [sqsError(403, "SignatureDoesNotMatch"), /the secret key is wrong/u],
      [sqsError(400, "ExpiredToken"), /session token is over/u],
      [sqsError(400, "InvalidAddress"), /InvalidAddress \(400\)/u],
      [{ kind: "answer", status: 404, body: "<html>" }, /HTTP 404/u],
    ] as const) {
      server.faults.next(/./u, fault);
      const error = await opened().catch((thrown) => thrown);
      expect(error).toBeInstanceOf(StoreConfigError);
      expect(error.message).toMatch(words);
      expect(error.message).not.toContain("hush");
    }
    const nowhere = opened(`${queue}-not`);
    await expect(nowhere).rejects.toThrow(/-not: there is no such queue/u);
    await expect(opened("nobody")).rejects.toThrow(/queue nobody: there is no such queue/u);
    const secure = server.endpoint.replace("http:", "https:");
    await expect(opened(queue, secure)).rejects.toBeInstanceOf(StoreConfigError);
  });

  test("that cannot be reached at the start is a warning", async () => {
    await opened(queue, `http://127.0.0.1:${await freePort()}`);
    expect(warnings()).toEqual([expect.stringContaining("nobody listens there")]);
    server.faults.next(/GetQueueUrl/u, sqsError(500, "InternalError"));
    const wakeUp = await opened(`wake-${made}`);
    expect(warnings()[1]).toContain("InternalError");
    wakeUp.tell(news("a"));
    expect(await heard(wakeUp, 1)).toEqual(["a"]);
    expect(warnings()[2]).toContain("works again");
  });
});
