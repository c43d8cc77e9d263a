import { expect, test } from "bun:test";
import { PAGE_DEFAULT, PAGE_MAX } from "../../src/admin/query.ts";
import { READY_TIMEOUT_MS } from "../../src/admin/ready.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { BusyError } from "../../src/queue/control.ts";
import { NotFoundError } from "../../src/storage/storage.ts";
import { manualClock } from "../observe/manual-clock.ts";
import { countedBody, detail, fakeApp, IDS, STATUS } from "./fake-control.ts";

const [ID, , LAST] = IDS;
const UNKNOWN = "06CV2Q2M8Z999999";

async function json(response: Response | Promise<Response>) {
  return (await (await response).json()) as Record<string, unknown>;
}

test("GET /v1/queue has the agreed shape, as JSON also for curl", async () => {
  const { app } = fakeApp();
  const response = await app.request("/v1/queue", { headers: { Accept: "*/*" } });
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await json(response)).toMatchObject({
    size: 12_345,
    states: { incoming: 2, active: 20, deferred: 12_300, hold: 23 },
    bytes: 1_288_490_188,
    oldest_seconds: 11_520,
    delivering: 20,
    waiting: 160,
    next_due_at: "2026-11-22T01:02:15.000Z",
    connections: { open: 25, idle: 5 },
    refusal: null,
    corrupt: 0,
    store_requests: null,
  });
  const body = await json(app.request("/v1/queue"));
  expect((body.destinations as unknown[])[1]).toEqual({
    destination: "example.org",
    delivering: 0,
    waiting: 120,
    limit: 1,
    places: null,
    suspended_until: "2026-11-22T01:06:03.000Z",
    last_failure: STATUS.destinations[1]?.lastFailure,
  });
});

test("an empty queue has no oldest and nothing due, and may have cost requests", async () => {
  const requests = { PUT: 24_000 };
  const none = { size: 0, oldestAt: null, nextDue: null };
  const empty = { ...STATUS, ...none, refusal: "no space", requests };
  const { app } = fakeApp({ control: { status: async () => empty } });
  expect(await json(app.request("/v1/queue"))).toMatchObject({
    oldest_seconds: null,
    next_due_at: null,
    refusal: "no space",
    store_requests: requests,
  });
});

test("GET /v1/messages lists summaries in pages", async () => {
  const { app, calls } = fakeApp();
  const first = await json(app.request("/v1/messages?limit=2"));
  expect(first.next).toBe(IDS[1]);
  const second = await json(app.request(`/v1/messages?limit=2&after=${first.next}`));
  expect(second).toEqual({
    messages: [
      {
        id: LAST,
        state: "deferred",
        sender: "alice@example.org",
        size: 10_240,
        received_at: "2026-11-21T21:50:03.000Z",
        due_at: "2026-11-22T01:07:03.000Z",
        attempts: 4,
        domain: "example.net",
        recipient_count: 3,
      },
    ],
    next: null,
  });
  await app.request("/v1/messages?state=hold&domain=Example.ORG&sender=");
  expect(calls.at(-1)).toEqual([
    "list",
    { state: "hold", domain: "example.org", sender: "", limit: PAGE_DEFAULT },
  ]);
});

test("recipients come with a list when they are asked for", async () => {
  const { app } = fakeApp();
  const body = await json(app.request("/v1/messages?limit=1&recipients=true"));
  expect((body.messages as { recipients: unknown }[])[0]?.recipients).toEqual([
    {
      address: "Bob@Example.NET",
      status: "pending",
      reason: "450 4.2.0 Greylisted, try again in five minutes",
    },
    { address: "dave@example.net", status: "delivered", reason: "250 2.0.0 Ok" },
    { address: "carol@example.net", status: "pending", reason: null },
  ]);
});

test("GET /v1/messages/ID shows every recipient as given, the done ones too", async () => {
  const { app } = fakeApp();
  const body = await json(app.request(`/v1/messages/${ID}`));
  expect(body).toMatchObject({
    id: ID,
    held: false,
    delay_notified: false,
    expires_at: "2026-11-26T16:08:43.000Z",
    client: { ip: "127.0.0.1", host: "localhost", name: "app.example", protocol: "ESMTP" },
  });
  expect((body.recipients as unknown[])[0]).toEqual({
    index: 0,
    address: "Bob@Example.NET",
    status: "pending",
    reason: "450 4.2.0 Greylisted, try again in five minutes",
    relay: "mx.example.net[192.0.2.1]:25",
    notify: ["FAILURE", "DELAY"],
    orcpt: "rfc822;b@x",
  });
  expect(body.recipients).toHaveLength(3);
});

test("an instant that no calendar has is null, not an error", async () => {
  const far = detail(ID, { due: Number.POSITIVE_INFINITY, expiresAt: 9e15, state: "hold" });
  const { app } = fakeApp({ control: { show: async () => far } });
  const body = await json(app.request(`/v1/messages/${ID}`));
  expect(body).toMatchObject({ due_at: null, expires_at: null, held: true });
  expect((await app.request(`/v1/messages/${ID}?format=text`)).status).toBe(200);
});

test("content is the message as it goes out, whether it lies in memory or is read", async () => {
  const { app } = fakeApp();
  const response = await app.request(`/v1/messages/${ID}/content`);
  expect(response.headers.get("content-type")).toBe("message/rfc822");
  expect(await response.text()).toBe("Received: by us\r\nSubject: hi\r\n\r\nhello\r\n");

  const chunks = [new Uint8Array([0, 255]), new Uint8Array([10, 128])];
  const { body, counts } = countedBody(chunks);
  const { envelope } = detail(ID);
  const read = detail(ID, { envelope: { ...envelope, content: { ...envelope.content, body } } });
  const streamed = await fakeApp({ control: { show: async () => read } }).app.request(
    `/v1/messages/${ID}/content`,
  );
  expect(streamed.headers.get("content-length")).toBe("21");
  expect([...(await streamed.bytes())].slice(17)).toEqual([0, 255, 10, 128]);
  expect(counts).toEqual({ opened: 1, closed: 1, chunks: 2 });
});

test("content is read no faster than it is taken, and closed when nobody takes it", async () => {
  const { body, counts } = countedBody(Array.from({ length: 100 }, () => new Uint8Array(1000)));
  const { envelope } = detail(ID);
  const read = detail(ID, {
    envelope: { ...envelope, content: { prefix: new Uint8Array(), body } },
  });
  const { app } = fakeApp({ control: { show: async () => read } });
  const response = await app.request(`/v1/messages/${ID}/content`);
  const reader = response.body?.getReader();
  await reader?.read();
  await reader?.read();
  expect(counts.chunks).toBeLessThanOrEqual(3);
  await reader?.cancel();
  expect(counts.closed).toBe(1);

  await app.request(`/v1/messages/${ID}/content`, { method: "HEAD" });
  expect(counts.opened).toBe(1);
});

test.each(["retry", "hold", "release", "remove", "bounce"] as const)(
  "POST %s does it, and knows what is not there",
  async (verb) => {
    const { app, calls, events } = fakeApp();
    const done = await app.request(`/v1/messages/${ID}/${verb}`, { method: "POST" });
    expect(await json(done)).toEqual({ id: ID, done: true });
    expect(calls).toEqual([[verb, ID]]);

    const missing = await app.request(`/v1/messages/${UNKNOWN}/${verb}`, { method: "POST" });
    expect(missing.status).toBe(404);
    // Telling is the queue's business.
    expect(events).toEqual([]);
  },
);

test("DELETE removes", async () => {
  const { app, calls } = fakeApp();
  const done = await app.request(`/v1/messages/${ID}`, { method: "DELETE" });
  expect(await json(done)).toEqual({ id: ID, done: true });
  expect(calls).toEqual([["remove", ID]]);
});

test("POST /v1/flush flushes everything, or what is selected", async () => {
  const { app, calls } = fakeApp();
  expect(await json(app.request("/v1/flush", { method: "POST" }))).toEqual({ flushed: 7 });
  await app.request("/v1/flush?domain=Example.org", { method: "POST" });
  expect(calls).toEqual([["flush"], ["flush", { domain: "example.org" }]]);
});

test("a verb on one message never becomes a verb on all", async () => {
  const { app, calls } = fakeApp();
  for (const verb of ["retry", "hold", "release", "remove", "bounce"]) {
    for (const id of [ID, UNKNOWN, "x", "remove"]) {
      await app.request(`/v1/messages/${id}/${verb}?all=true`, { method: "POST" });
    }
  }
  expect(calls).toEqual([]);
});

test("bulk verbs want a selector, or the word all", async () => {
  const { app, calls } = fakeApp();
  const post = (path: string) => app.request(path, { method: "POST" });
  expect((await post("/v1/messages/remove")).status).toBe(400);
  expect((await post("/v1/messages/remove?all=false")).status).toBe(400);
  expect((await post("/v1/messages/remove?all=true&state=hold")).status).toBe(400);
  expect(calls).toEqual([]);
  expect(await json(post("/v1/messages/remove?all=true"))).toEqual({ count: 3 });
  await post("/v1/messages/hold?sender=");
  await post("/v1/messages/bounce?state=deferred&domain=a.example");
  expect(calls).toEqual([
    ["each", "remove", {}],
    ["each", "hold", { sender: "" }],
    ["each", "bounce", { state: "deferred", domain: "a.example" }],
  ]);
});

test.each([
  [`/v1/messages?limit=0`, "limit is at least 1"],
  [`/v1/messages?limit=${PAGE_MAX + 1}`, `limit is at most ${PAGE_MAX}`],
  ["/v1/messages?limit=ten", "limit is a number"],
  ["/v1/messages?state=lost", "state is one of incoming, active, deferred, hold"],
  ["/v1/messages?after=x", "after is a message id"],
  ["/v1/messages?limit=1&limit=2", "limit is given twice"],
  ["/v1/messages?stat=hold", "stat is unknown"],
  ["/v1/messages?limit=0&state=x", "limit is at least 1"],
  [`/v1/messages?domain=${"x".repeat(321)}`, "domain has at most 320 characters"],
  ["/v1/queue?format=xml", "format is json or text"],
  [`/v1/messages/${ID}?verbose=1`, "verbose is unknown"],
])("%s is 400 and says: %s", async (path, text) => {
  const response = await fakeApp().app.request(path);
  expect(response.status).toBe(400);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(await json(response)).toMatchObject({
    type: "about:blank",
    title: "Bad Request",
    status: 400,
    detail: expect.stringContaining(text),
  });
});

test(`a page of ${PAGE_MAX} is allowed`, async () => {
  expect((await fakeApp().app.request(`/v1/messages?limit=${PAGE_MAX}`)).status).toBe(200);
});

test.each([
  ["GET", "/nothing", 404, null],
  ["GET", "/v1/messages/ID", 404, null],
  ["GET", `/v1/messages/${UNKNOWN}`, 404, null],
  ["GET", `/v1/messages/${UNKNOWN}/content`, 404, null],
  ["GET", "/v1/messages/..%2f..%2fetc", 404, null],
  ["POST", `/v1/messages/${ID}/explode`, 404, null],
  ["POST", "/v1/queue", 405, "GET, HEAD"],
  ["PUT", `/v1/messages/${ID}`, 405, "GET, HEAD, DELETE"],
  ["GET", "/v1/flush", 405, "POST"],
  ["GET", "/v1/messages/retry", 405, "POST"],
  ["DELETE", `/v1/messages/${ID}/retry`, 405, "POST"],
  ["DELETE", "/v1/messages", 405, "GET, HEAD"],
  ["OPTIONS", "/v1/queue", 405, "GET, HEAD"],
])("%s %s is %i", async (method, path, status, allow) => {
  const { app, calls } = fakeApp();
  const response = await app.request(path, { method });
  expect(response.status).toBe(status);
  expect(response.headers.get("allow")).toBe(allow);
  expect(await json(response)).toMatchObject({ status, type: "about:blank" });
  expect(calls).toEqual([]);
});

test("what is not there comes with what is", async () => {
  const body = await json(fakeApp().app.request("/nothing"));
  expect(body.endpoints).toContain("POST /v1/flush");
});

test("probes: live always, ready exactly when mail can be accepted", async () => {
  const { app } = fakeApp();
  for (const path of ["/livez", "/healthz/live"]) {
    expect((await app.request(path)).status).toBe(200);
  }
  for (const path of ["/readyz", "/healthz", "/healthz/ready"]) {
    const response = await app.request(path);
    expect(response.status).toBe(200);
    expect(await json(response)).toEqual({ status: "ready", checks: { spool: "ok", smtp: "ok" } });
  }
  const report = { status: "not-ready", checks: { spool: "EROFS", smtp: "ok" } } as const;
  const sick = fakeApp({ parts: { ready: async () => report } }).app;
  for (const path of ["/readyz", "/healthz", "/healthz/ready"]) {
    const response = await sick.request(path);
    expect(response.status).toBe(503);
    expect(await json(response)).toEqual(report);
  }
  expect((await sick.request("/livez")).status).toBe(200);
});

test("a check that hangs or throws is not ready, and many probes ask once", async () => {
  const { clock, advance } = manualClock();
  let asked = 0;
  const hang = async () => {
    asked += 1;
    return new Promise<never>(() => undefined);
  };
  const { app } = fakeApp({ parts: { ready: hang, clock } });
  const probes = [app.request("/readyz"), app.request("/readyz")];
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  advance(READY_TIMEOUT_MS);
  for (const response of await Promise.all(probes)) expect(response.status).toBe(503);
  expect(asked).toBe(1);

  const broken = () => Promise.reject(new Error("EIO"));
  const sick = await fakeApp({ parts: { ready: broken } }).app.request("/readyz");
  expect(sick.status).toBe(503);
  expect(await json(sick)).toEqual({ status: "not-ready", checks: { health: "EIO" } });
});

test("metrics have the type that Prometheus wants", async () => {
  const response = await fakeApp().app.request("/metrics");
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  expect(await response.text()).toBe("# nothing\n");
});

test("storage that fails is 503 with its reply; our own faults say nothing", async () => {
  const reply = { code: 451, enhanced: "4.3.0", text: "Storage is failing" };
  const failing = async () => {
    throw new QueueError("EIO in /var/spool/secret", { reply });
  };
  const sick = fakeApp({ control: { status: failing, list: failing } });
  const response = await sick.app.request("/v1/queue");
  expect(response.status).toBe(503);
  const text = await response.text();
  expect(text).toContain("451 4.3.0 Storage is failing");
  expect(text).not.toContain("secret");
  expect(sick.events).toMatchObject([{ kind: "lifecycle", what: "error" }]);

  const buggy = fakeApp({ control: { show: () => Promise.reject(new TypeError("x of y")) } });
  const fault = await buggy.app.request(`/v1/messages/${ID}`);
  expect(fault.status).toBe(500);
  expect(await fault.text()).not.toContain("x of y");

  const gone = fakeApp({ control: { retry: () => Promise.reject(new NotFoundError("gone")) } });
  const raced = await gone.app.request(`/v1/messages/${ID}/retry`, { method: "POST" });
  expect(raced.status).toBe(404);
});

test("bouncing a message that is being delivered is a conflict, and no fault to report", async () => {
  const busy = async () => {
    throw new BusyError(`message ${ID} is being delivered`);
  };
  const { app, events } = fakeApp({ control: { bounce: busy } });
  const response = await app.request(`/v1/messages/${ID}/bounce`, { method: "POST" });
  expect(response.status).toBe(409);
  expect(await json(response)).toMatchObject({
    title: "Conflict",
    detail: expect.stringContaining("being delivered at this moment; try again"),
  });
  expect(events).toEqual([]);
});

test("a body that cannot even be started is an error, not an empty message", async () => {
  const { envelope } = detail(ID);
  const body = {
    kind: "source" as const,
    size: 10,
    head: new Uint8Array(),
    // biome-ignore lint/correctness/useYield: it fails before the first
    async *stream(): AsyncGenerator<Uint8Array> {
      throw new QueueError("unreadable");
    },
  };
  const broken = detail(ID, { envelope: { ...envelope, content: { ...envelope.content, body } } });
  const { app } = fakeApp({ control: { show: async () => broken } });
  expect((await app.request(`/v1/messages/${ID}/content`)).status).toBe(503);
});

test("every answer may be kept nowhere, framed nowhere and sniffed by nobody", async () => {
  const { app } = fakeApp();
  for (const path of [
    "/",
    "/v1/queue",
    `/v1/messages/${ID}/content`,
    "/nothing",
    "/v1/queue?x=1",
  ]) {
    const { headers } = await app.request(path);
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
  }
  expect(
    (await app.request("/v1/queue", { headers: { host: "evil.example" } })).headers.get(
      "cache-control",
    ),
  ).toBe("no-store");
});
