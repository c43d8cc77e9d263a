import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { AdminEnv } from "../../src/admin/guard.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { fakeApp, IDS } from "../admin/fake-control.ts";
import { hostileApp, PROBES, TOKEN } from "./support/hostile-app.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";

const OBEYED =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

const app = hostileApp();

/** Out of the application itself: whoever adds a route adds it to this test. */
const ROUTES = app.routes.filter(({ path, method }) => method !== "ALL" && path !== "/*");
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

const IDENTIFIERS = [
  IDS[0],
  "06cv2q2m8z000001",
  "..",
  ".",
  "%2e%2e",
  "%00",
  "%0d%0aX-Evil:1",
  "%ff",
  "%",
  "%zz",
  "a/b",
  "%2f",
  "x".repeat(5000),
  "*",
  ":id",
  "__proto__",
  "constructor",
  "retry",
  "0".repeat(16),
  "'--",
  "<script>",
  "\u00e9",
  "%F0%9F%92%A9",
  "06CV2Q2M8Z000001%20",
];
const PARAMETERS = [
  "limit",
  "after",
  "state",
  "domain",
  "sender",
  "recipients",
  "format",
  "all",
  "__proto__",
  "constructor",
  "toString",
  "",
  "limit[]",
  "%00",
];
const VALUES = [
  "",
  "0",
  "1",
  "-1",
  "1e9",
  "1001",
  "999999999999999999999",
  "NaN",
  "text",
  "json",
  "xml",
  "true",
  "false",
  "TRUE",
  "hold",
  IDS[1],
  "%00",
  "%1b[31m",
  "a".repeat(400),
  "a@b",
  "%ff",
  "%",
  "+",
  "&&&",
  "=",
  "[object Object]",
  "example.org",
];
const HEADERS: readonly (readonly [string, string])[] = [
  ["accept", "text/plain"],
  ["accept", "*/*;q=9e9,text/plain;q=NaN"],
  ["accept", ",".repeat(2000)],
  ["origin", "null"],
  ["origin", "http://evil.example"],
  ["origin", "http://localhost"],
  ["origin", "://"],
  ["host", "evil.example"],
  ["host", "localhost:99999"],
  ["host", "[::1"],
  ["host", "a b"],
  ["host", "localhost@evil.example"],
  ["host", ""],
  ["content-length", "5"],
  ["content-length", "-1"],
  ["transfer-encoding", "chunked"],
  ["content-type", "application/json"],
  ["authorization", `Bearer ${TOKEN}x`],
  ["authorization", "Bearer"],
  ["authorization", `Basic ${TOKEN}`],
  ["authorization", `Bearer ${"x".repeat(9000)}`],
  ["authorization", `Bearer ${TOKEN} ${TOKEN}`],
  ["x-forwarded-for", "127.0.0.1"],
  ["x-forwarded-host", "localhost"],
  ["forwarded", "for=127.0.0.1"],
  ["sec-fetch-site", "cross-site"],
  ["user-agent", "Mozilla/5.0"],
  ["x-http-method-override", "DELETE"],
  ["range", "bytes=0-0"],
  ["if-none-match", "*"],
  ["expect", "100-continue"],
  ["upgrade", "websocket"],
];

interface Ask {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly peer: string;
  readonly hasToken: boolean;
}

const route = fc.constantFrom(...ROUTES);
const query = fc.array(fc.tuple(fc.constantFrom(...PARAMETERS), fc.constantFrom(...VALUES)), {
  maxLength: 3,
});
const ask: fc.Arbitrary<Ask> = fc
  .record({
    route,
    id: fc.constantFrom(...IDENTIFIERS),
    method: fc.oneof(
      { weight: 3, arbitrary: fc.constant("") },
      { weight: 1, arbitrary: fc.constantFrom(...METHODS) },
    ),
    query,
    tail: fc.constantFrom("", "", "", "", "/", "//", "/..", "%2f", "#x", ";x=1"),
    headers: fc.array(fc.constantFrom(...HEADERS), { maxLength: 2 }),
    peer: fc.constantFrom(
      "127.0.0.1",
      "127.0.0.1",
      "::1",
      "unix",
      "192.0.2.7",
      "unknown",
      "127.0.0.1.evil",
    ),
    hasToken: fc.boolean(),
  })
  .map(
    ({ route: { path, method: own }, id, method, query: asked, tail, headers, peer, hasToken }) => {
      const search = asked.map(([name, value]) => `${name}=${value}`).join("&");
      const target = `${path.replaceAll(":id", id)}${tail}${search === "" ? "" : `?${search}`}`;
      return { method: method || own, target, headers, peer, hasToken };
    },
  );

describe("every route", () => {
  test("is asked with its own method and ids at least", () => {
    expect(ROUTES.length).toBeGreaterThan(20);
    const paths = new Set(ROUTES.map(({ path }) => path));
    for (const path of [...PROBES, "/", "/metrics", "/v1/messages/:id/content"])
      expect(paths).toContain(path);
  });

  test(
    "answers anything with its status, its shape, and nothing that a terminal obeys",
    async () => {
      await rounds(6, async (_, seed) => {
        await fc.assert(fc.asyncProperty(ask, answersWell), { numRuns: 300, seed });
      });
    },
    FUZZ_TIMEOUT_MS,
  );

  test("each as text: nothing that a terminal obeys", async () => {
    const query: Record<string, string> = { "/v1/messages": "?format=text&recipients=true" };
    for (const { path } of ROUTES.filter(({ method }) => method === "GET")) {
      if (path.endsWith("/content") || path === "/metrics") continue;
      const target = `http://localhost${path.replaceAll(":id", IDS[0])}${query[path] ?? "?format=text"}`;
      const response = await app.request(target, {}, { peer: "unix" });
      expect([path, await response.text()]).toEqual([path, expect.not.stringMatching(OBEYED)]);
    }
  });

  test("each by itself: without the token only probes answer, a browser changes nothing", async () => {
    for (const { method, path } of ROUTES) {
      const target = `http://localhost${path.replaceAll(":id", IDS[0])}`;
      const ours = { authorization: `Bearer ${TOKEN}` };
      const from = (headers: Record<string, string>, peer = "127.0.0.1") =>
        app.request(target, { method, headers }, { peer } satisfies AdminEnv);
      const isProbe = PROBES.includes(path);
      expect([path, (await from({})).status]).toEqual([path, isProbe ? 200 : 401]);
      const evil = { ...ours, origin: "https://evil.example" };
      expect([path, (await from(evil)).status]).toEqual([path, 403]);
      if (method === "GET") continue;
      expect((await from({ ...ours, "sec-fetch-site": "cross-site" })).status).toBe(403);
      expect((await from({ ...ours, "user-agent": "Mozilla/5.0" })).status).toBe(403);
    }
  });

  test("a queue that fails is 503 or 500 in the same shape, and tells nothing of its insides", async () => {
    const canary = "/var/spool/secret-path";
    for (const error of [new QueueError(canary), new Error(canary), new TypeError(canary)]) {
      const fail = async () => {
        throw error;
      };
      const control = {
        status: fail,
        list: fail,
        show: fail,
        retry: fail,
        hold: fail,
        release: fail,
        remove: fail,
        bounce: fail,
        flush: fail,
        each: fail,
      };
      const broken = fakeApp({ control, parts: { metrics: fail } }).app;
      for (const { method, path } of ROUTES) {
        const query = path.split("/").length === 4 && method === "POST" ? "?all=true" : "";
        const response = await broken.request(
          `http://localhost${path.replaceAll(":id", IDS[0])}${query}`,
          { method },
          { peer: "127.0.0.1" },
        );
        const text = await response.text();
        expect(text).not.toContain(canary);
        if (response.status !== 200) expect([503, 500]).toContain(response.status);
        if (response.status !== 200) hasShape(response.status, JSON.parse(text));
      }
    }
  });
});

async function answersWell({ method, target, headers, peer, hasToken }: Ask): Promise<void> {
  let request: Request;
  try {
    const all = new Headers({ host: "localhost" });
    if (hasToken) all.set("authorization", `Bearer ${TOKEN}`);
    for (const [name, value] of headers) all.set(name, value);
    request = new Request(`http://localhost${target}`, { method, headers: all });
  } catch {
    // The platform does not let it through.
    return;
  }
  const authorization = request.headers.get("authorization");
  const isTrusted = peer === "unix" || authorization === `Bearer ${TOKEN}`;
  const response = await app.fetch(request, { peer });
  const text = await response.text();
  const isProbe = PROBES.includes(new URL(request.url).pathname);
  if (!isTrusted && !isProbe) expect([400, 401, 403, 421]).toContain(response.status);
  expect(text).not.toContain(TOKEN);
  if (!request.url.includes("content")) {
    expect(text).not.toMatch(OBEYED);
    expect(text).not.toMatch(/^forged/mu);
  }
  expect([200, 400, 401, 403, 404, 405, 409, 421]).toContain(response.status);
  expect(response.headers.get("x-content-type-options")).toBe("nosniff");
  const type = response.headers.get("content-type") ?? "";
  if (type.includes("html")) throw new Error("there is no HTML here");
  if (type.includes("json") && method !== "HEAD") {
    const body = JSON.parse(text);
    if (response.status >= 400) hasShape(response.status, body);
  }
}

/** RFC 9457, as every error is told. */
function hasShape(status: number, body: Record<string, unknown>): void {
  expect(body).toMatchObject({
    type: "about:blank",
    title: expect.any(String),
    status,
    detail: expect.any(String),
  });
  expect(JSON.stringify(body)).not.toMatch(/ at .*:\d+:\d+/u);
}
