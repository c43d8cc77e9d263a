import { expect, test } from "bun:test";
import fc from "fast-check";
import { COLUMNS } from "../../src/admin/text.ts";
import { count, duration, rate, size, until } from "../../src/admin/words.ts";
import { detail, fakeApp, IDS, NOW, STATUS } from "./fake-control.ts";

const [ID] = IDS;

async function page(path: string, options: Parameters<typeof fakeApp>[0] = {}) {
  const response = await fakeApp(options).app.request(path);
  expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  return response.text();
}

test("the front page tells the story", async () => {
  const text = await page("/");
  expect(text).toStartWith("slimta-queue 0.1.0 on mail.example.org, up 3d4h\n");
  for (const part of [
    "  READY         mail is accepted\n",
    "12,345 messages, 1.2 GiB, oldest 3h12m\n",
    "incoming 2   active 20   deferred 12,300   hold 23\n",
    "in:  1,234,567 messages (4.5/s), 9.2 GiB; 12 refused\n",
    "2,222 deferred, 12 bounced, 1 expired\n",
    "20 now, 160 waiting; 25 connections, 5 idle\n",
    "next due      in 12s\n",
    "suspended, tried again in 4m: connect to mx.example.org[198.51.100.7]:25:\n",
    "POST /v1/flush                try everything now",
    "curl 'http://localhost/v1/messages?format=text'\n",
  ]) {
    expect(text).toContain(part);
  }
});

test("the front page of a node without an edge does not say that it accepts", async () => {
  const ready = async () => ({ status: "ready" as const, checks: { spool: "ok" } });
  const text = await page("/", { parts: { ready } });
  expect(text).toContain("  READY         mail of the store is relayed\n");
  expect(text).not.toContain("accepted\n");
});

test("the front page has the bill of a store that charges for requests", async () => {
  expect(await page("/")).not.toContain("requests");
  const requests = { PUT: 24_000, POST: 0, GET: 310 };
  const status = async () => ({ ...STATUS, requests });
  expect(await page("/", { control: { status } })).toContain(
    "  requests      PUT 24,000   GET 310\n",
  );
});

test("the front page says why mail is not accepted", async () => {
  const checks = { spool: "ok", space: "2.1 GiB free is less than 10 %" };
  const ready = async () => ({ status: "not-ready" as const, checks });
  const text = await page("/", { parts: { ready } });
  expect(text).toContain("  NOT READY     space: 2.1 GiB free is less than 10 %\n");
  expect(text).not.toContain("  READY ");
});

test("the front page is there when storage is not", async () => {
  const status = () => Promise.reject(new Error("EIO"));
  expect(await page("/", { control: { status } })).toContain("storage does not answer\n");
  const response = await fakeApp({ control: { status } }).app.request("/?format=json");
  expect(await response.json()).toMatchObject({ queue: null, version: "0.1.0" });
});

test.each([
  ["*/*", "/", "text"],
  ["text/html,application/xhtml+xml,*/*;q=0.8", "/", "text"],
  ["application/json", "/", "json"],
  ["*/*", "/?format=json", "json"],
  ["*/*", "/v1/queue", "json"],
  ["text/plain", "/v1/queue", "text"],
  ["text/plain;q=0.5, application/json", "/v1/queue", "json"],
  ["application/json;q=0.1,text/plain", `/v1/messages/${ID}`, "text"],
  ["application/json", `/v1/messages?format=text`, "text"],
])("Accept: %s on %s is %s", async (accept, path, kind) => {
  const response = await fakeApp().app.request(path, { headers: { Accept: accept } });
  const type = kind === "text" ? "text/plain; charset=utf-8" : "application/json";
  expect(response.headers.get("content-type")).toBe(type);
});

test("a list has two lines a message and says how to go on", async () => {
  expect(await page("/v1/messages?format=text&limit=1")).toBe(
    "ID                STATE          SIZE      AGE  TRIES  NEXT\n" +
      "06CV2Q2M8Z000001  deferred   10.0 KiB    3h12m      4  in 5m\n" +
      "    alice@example.org -> example.net (3)\n" +
      "\nThere is more: after=06CV2Q2M8Z000001\n",
  );
  const list = async () => [];
  expect(await page("/v1/messages?format=text", { control: { list } })).toBe("No message.\n");
});

test("one message is told in full", async () => {
  const text = await page(`/v1/messages/${ID}?format=text`);
  expect(text).toContain("from localhost [127.0.0.1], ESMTP, HELO app.example\n");
  expect(text).toContain("      pending   Bob@Example.NET\n          450 4.2.0 Greylisted");
  expect(text).toContain("      delivered dave@example.net\n");
});

test("no page is wider than a terminal, whatever strangers wrote, and none carries controls", async () => {
  const words = fc.array(fc.string({ unit: "binary", maxLength: 12 }), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(words, fc.nat(99_999), async (parts, number) => {
      const text = parts.join(" ");
      const destination = { ...STATUS.destinations[1], destination: text, lastFailure: text };
      const status = {
        ...STATUS,
        size: number * 1e4,
        waiting: number,
        destinations: [
          {
            ...destination,
            waiting: number,
            limit: 1,
            places: 3,
            delivering: 1,
            suspendedUntil: null,
          },
        ],
      };
      const one = detail(ID, { sender: text, domain: text, recipientCount: number });
      const control = {
        status: async () => status,
        list: async () => [one],
        show: async () => one,
      };
      for (const path of ["/", "/v1/queue?format=text", "/v1/messages?format=text"]) {
        for (const line of (await page(path, { control })).split("\n")) {
          // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
          expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/u);
          expect(line.length).toBeLessThanOrEqual(COLUMNS);
        }
      }
    }),
    { numRuns: 30 },
  );
});

test("numbers are written for people", () => {
  expect([0, 999, 1000, 1_234_567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect([0, 512, 1000, 10_240, 1_288_490_188].map(size)).toEqual([
    "0 B",
    "512 B",
    "1.0 KiB",
    "10.0 KiB",
    "1.2 GiB",
  ]);
  expect([-1, 0, 59, 60, 90, 601, 3600, 11_520, 86_400, 187_200].map(duration)).toEqual(
    "0s 0s 59s 1m 1m30s 10m 1h 3h12m 1d 2d4h".split(" "),
  );
  expect([rate(450, 100), rate(1, 60), rate(1, 3600), rate(500_000, 100)]).toEqual([
    "4.5/s",
    "1.0/min",
    "1.0/h",
    "5,000/s",
  ]);
  expect([until(NOW - 1, NOW), until(NOW + 5000, NOW)]).toEqual(["now", "in 5s"]);
});
