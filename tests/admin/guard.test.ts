import { expect, test } from "bun:test";
import type { AdminEnv } from "../../src/admin/guard.ts";
import { fakeApp, IDS } from "./fake-control.ts";

const [ID] = IDS;
const TOKEN = "correct-horse";
const BEARER = { authorization: `Bearer ${TOKEN}` };

interface Ask {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly env?: AdminEnv;
  readonly token?: string;
  readonly hosts?: readonly string[];
}

async function ask({
  method = "GET",
  path = "/v1/queue",
  headers = {},
  env,
  token,
  hosts = [],
}: Ask) {
  const { app, calls } = fakeApp({ parts: { token, hosts } });
  const response = await app.request(path, { method, headers }, env ?? { peer: "127.0.0.1" });
  if (response.status >= 400 && response.status !== 503) expect(calls).toEqual([]);
  return response.status;
}

test.each([
  ["localhost", 200],
  ["LOCALHOST:8425", 200],
  ["127.0.0.1:8425", 200],
  ["127.9.9.9", 200],
  ["[::1]:8425", 200],
  ["localhost.:8425", 200],
  ["mail.example.org", 200],
  ["evil.example", 421],
  ["evil.example:8425", 421],
  ["localhost.evil.example", 421],
  ["127.0.0.1.evil.example", 421],
  ["192.0.2.1:8425", 421],
  ["", 421],
  ["evil.example/localhost", 421],
])("Host %j is %i: a name that was pointed here is not ours", async (host, status) => {
  expect(await ask({ headers: { host }, hosts: ["Mail.Example.Org"] })).toBe(status);
});

test("who proves to be trusted may call us by any name", async () => {
  const headers = { host: "relay:8425" };
  expect(await ask({ headers, env: { peer: "unix" } })).toBe(200);
  expect(await ask({ headers, token: TOKEN })).toBe(421);
  expect(await ask({ headers: { ...headers, ...BEARER }, token: TOKEN })).toBe(200);
  expect(await ask({ headers: { host: "10.0.0.7:8425" }, path: "/livez", token: TOKEN })).toBe(200);
});

test.each([
  ["GET", { origin: "https://evil.example" }, 403],
  ["GET", { origin: "null" }, 403],
  ["GET", { origin: "http://localhost" }, 200],
  ["GET", { origin: "http://localhost:9999" }, 403],
  ["POST", { origin: "https://evil.example" }, 403],
  ["POST", { origin: "http://localhost" }, 200],
  ["POST", { "sec-fetch-site": "cross-site" }, 403],
  ["POST", { "sec-fetch-site": "none" }, 403],
  ["POST", { "user-agent": "Mozilla/5.0 (X11)" }, 403],
  ["POST", { "user-agent": "curl/8.0" }, 200],
  ["GET", { "user-agent": "Mozilla/5.0 (X11)" }, 200],
] as const)(
  "%s with %j is %i: other pages may not use a browser here",
  async (method, headers, status) => {
    const path = method === "POST" ? `/v1/messages/${ID}/retry` : "/v1/queue";
    expect(await ask({ method, path, headers: { host: "localhost", ...headers } })).toBe(status);
  },
);

test("a foreign origin is refused even with the token and on the unix socket", async () => {
  const headers = { host: "localhost", origin: "https://evil.example", ...BEARER };
  expect(await ask({ headers, token: TOKEN })).toBe(403);
  expect(await ask({ headers, env: { peer: "unix" } })).toBe(403);
});

test.each([
  ["127.0.0.1", 200],
  ["::1", 200],
  ["::ffff:127.0.0.1", 200],
  ["unix", 200],
  ["192.0.2.1", 403],
  ["::ffff:192.0.2.1", 403],
  ["unknown", 403],
])("without a token a peer at %s gets %i", async (peer, status) => {
  expect(await ask({ env: { peer } })).toBe(status);
});

test.each([
  [{}, 401],
  [{ authorization: "Bearer wrong" }, 401],
  [{ authorization: `Basic ${TOKEN}` }, 401],
  [{ authorization: TOKEN }, 401],
  [{ authorization: `Bearer ${TOKEN}x` }, 401],
  [BEARER, 200],
  [{ authorization: `bearer ${TOKEN}` }, 200],
])("with a token %j is %i, from this host too", async (headers, status) => {
  for (const peer of ["127.0.0.1", "192.0.2.1"]) {
    expect(await ask({ headers, env: { peer }, token: TOKEN })).toBe(status);
  }
});

test("the unix socket needs no token: its permissions are one", async () => {
  expect(await ask({ env: { peer: "unix" }, token: TOKEN })).toBe(200);
});

test("probes need no token, and without it learn no reasons", async () => {
  const ready = async () => ({
    status: "not-ready" as const,
    checks: { spool: "EIO on sda", smtp: "ok" },
  });
  const { app } = fakeApp({ parts: { token: TOKEN, ready } });
  const peer = { peer: "192.0.2.1" };
  const stranger = await app.request("/readyz", {}, peer);
  expect(stranger.status).toBe(503);
  expect(await stranger.json()).toEqual({
    status: "not-ready",
    checks: { spool: "failing", smtp: "ok" },
  });
  const friend = await app.request("/readyz", { headers: BEARER }, peer);
  expect(await friend.json()).toMatchObject({ checks: { spool: "EIO on sda" } });
  expect((await app.request("/livez", {}, peer)).status).toBe(200);
  expect((await app.request("/metrics", {}, peer)).status).toBe(401);
  expect((await app.request("/", {}, peer)).headers.get("www-authenticate")).toStartWith("Bearer");
});

test("no answer contains the token", async () => {
  const { app } = fakeApp({ parts: { token: TOKEN } });
  for (const path of ["/", "/?format=json", "/v1/queue", "/nothing", "/readyz"]) {
    for (const headers of [{}, BEARER]) {
      expect(await (await app.request(path, { headers })).text()).not.toContain(TOKEN);
    }
  }
});

test("bodies are refused, empty ones are none", async () => {
  const { app } = fakeApp();
  const post = (headers: Record<string, string>) =>
    app.request("/v1/flush", { method: "POST", headers });
  expect((await post({ "content-length": "0" })).status).toBe(200);
  expect((await post({ "content-length": "1" })).status).toBe(400);
  expect((await post({ "transfer-encoding": "chunked" })).status).toBe(400);
});
