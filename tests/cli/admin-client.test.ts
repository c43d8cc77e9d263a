import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { freePort } from "../support/free-port.ts";
import { tempDir } from "../support/temp-dir.ts";
import { type FakeDaemon, fakeDaemon, problem } from "./fake-daemon.ts";
import { run } from "./help.ts";

let daemon: FakeDaemon;
beforeEach(() => {
  daemon = fakeDaemon();
});
afterEach(() => daemon[Symbol.asyncDispose]());

describe("healthcheck", () => {
  test("0 when ready, 1 when not or when nobody answers", async () => {
    daemon.answer = () => Response.json({ status: "ready" });
    expect(await run(["healthcheck", ...daemon.at])).toEqual({
      code: 0,
      out: 'ready: {"status":"ready"}\n',
      err: "",
    });
    expect(daemon.calls).toEqual(["GET /readyz"]);
    daemon.answer = () => Response.json({ status: "not-ready" }, { status: 503 });
    expect(await run(["healthcheck", ...daemon.at])).toMatchObject({
      code: 1,
      out: 'not ready: {"status":"not-ready"}\n',
    });
    const nobody = ["--admin", `127.0.0.1:${await freePort()}`];
    expect((await run(["healthcheck", ...nobody])).code).toBe(1);
  });
});

describe("the daemon's answers", () => {
  test("nobody there: 69, and what to do", async () => {
    const port = await freePort();
    const ran = await run(["queue", "list", "--admin", `127.0.0.1:${port}`]);
    expect(ran).toMatchObject({ code: 69, out: "" });
    expect(ran.err).toContain(
      `no daemon answers (asked 127.0.0.1:${port}): start it with "slimta-queue serve"`,
    );
  });

  test("refusals become exit codes, with the daemon's words", async () => {
    const expected = [
      [401, 77, "admin.token"],
      [403, 77, "admin.token"],
      [400, 65, "the daemon answers 400: Title: Why"],
      [409, 75, "the daemon answers 409: Title: Why"],
      [429, 75, "429"],
      [503, 75, "the daemon answers 503: Title: Why"],
    ] as const;
    for (const [status, code, text] of expected) {
      daemon.answer = () => problem(status, "Title", "Why");
      const ran = await run(["queue", "count", ...daemon.at]);
      expect([status, ran.code]).toEqual([status, code]);
      expect(ran.err).toContain(text);
    }
    daemon.answer = () => new Response("<html>", { status: 502, statusText: "Bad Gateway" });
    expect(await run(["queue", "count", ...daemon.at])).toMatchObject({ code: 75 });
  });

  test("an answer of another shape is not believed", async () => {
    daemon.answer = () => Response.json({ sizes: 1 });
    expect(await run(["queue", "count", ...daemon.at])).toMatchObject({ code: 70 });
    daemon.answer = () => new Response("hello");
    expect((await run(["queue", "list", ...daemon.at])).err).toContain("is not understood");
  });

  test("the token goes along, and only then", async () => {
    const seen: (string | null)[] = [];
    daemon.answer = (request) => {
      seen.push(request.headers.get("authorization"));
      return Response.json({ size: 0, states: {} });
    };
    await run(["queue", "count", ...daemon.at]);
    await run(["queue", "count", ...daemon.at], { env: { SLIMTA_QUEUE_ADMIN__TOKEN: "t" } });
    expect(seen).toEqual([null, "Bearer t"]);
  });

  test("a wildcard address is asked at loopback", async () => {
    const env = { SLIMTA_QUEUE_ADMIN__TOKEN: "t" };
    expect(
      await run(["queue", "count", "--admin", `0.0.0.0:${daemon.port}`], { env }),
    ).toMatchObject({ code: 0 });
  });

  test("a unix socket goes first; one that nobody serves is passed by", async () => {
    await using dir = tempDir("cli");
    const unix = dir.join("admin.sock");
    let asked = 0;
    const flags = [...daemon.at, `--set=admin.socket=${unix}`];
    const viaSocket = Bun.serve({
      unix,
      fetch: () => {
        asked += 1;
        return Response.json({ size: 0, states: {} });
      },
    });
    expect((await run(["queue", "count", ...flags], { exists: existsSync })).out).toContain(
      "total              0",
    );
    expect([asked, daemon.calls.length]).toEqual([1, 0]);
    await viaSocket.stop(true);
    expect((await run(["queue", "count", ...flags], { exists: () => true })).out).toContain(
      "total              3",
    );
    expect(daemon.calls).toEqual(["GET /v1/queue"]);
  });
});
