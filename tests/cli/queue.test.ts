import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { BrokenPipe } from "../../src/cli/cli-error.ts";
import {
  CONTENT,
  type FakeDaemon,
  type FakeMessage,
  fakeDaemon,
  problem,
  some,
} from "./fake-daemon.ts";
import { run, stream } from "./help.ts";

let daemon: FakeDaemon;
beforeEach(() => {
  daemon = fakeDaemon();
});
afterEach(() => daemon[Symbol.asyncDispose]());

/** What mailq prints of an instant in the zone of this process. */
function clock(): string {
  const date = new Date("2026-11-05T04:03:02.000Z");
  return `${date.toString().slice(0, 7)}  5 ${date.toTimeString().slice(0, 8)}`;
}

describe("queue list", () => {
  test("an empty queue", async () => {
    expect(await run(["queue", "list", ...daemon.at])).toEqual({
      code: 0,
      out: "Mail queue is empty\n",
      err: "",
    });
  });

  test("looks like mailq", async () => {
    const [one, two, three] = [...some(1), ...some(1, "hold"), ...some(1, "active")];
    daemon.messages = [
      one,
      { ...two, id: "1F6YH3Q2K0HHHHHH", sender: "" },
      { ...three, id: "1F6YH3Q2K0AAAAAA" },
    ] as FakeMessage[];
    const { out } = await run(["queue", "list", ...daemon.at]);
    const blank = " ".repeat(47);
    expect(out.split("\n")).toEqual([
      "----Queue ID----- --Size-- ----Arrival Time---- --Sender/Recipient------",
      `1F6YH3Q2K0000000      2048 ${clock()} s@example.org`,
      `${" ".repeat(42)}(451 4.4.1 connect to mx: timed out)`,
      `${blank}a@example.net`,
      `${blank}b@example.net`,
      `${blank}(done)`,
      "",
      `1F6YH3Q2K0HHHHHH!     2048 ${clock()} MAILER-DAEMON`,
      `${blank}a@example.net`,
      `${blank}b@example.net`,
      `${blank}(done)`,
      "",
      `1F6YH3Q2K0AAAAAA*     2048 ${clock()} s@example.org`,
      `${blank}a@example.net`,
      `${blank}b@example.net`,
      `${blank}(done)`,
      "",
      "-- 6 Kbytes in 3 Requests.",
      "",
    ]);
  });

  test("streams pages, every message once", async () => {
    daemon.messages = some(1234);
    const { out } = await run(["queue", "list", ...daemon.at, "--json"]);
    const ids = out
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { queue_id: string }).queue_id);
    expect(ids).toEqual(daemon.messages.map(({ id }) => id));
    expect(daemon.calls).toHaveLength(3);
  });

  test("stops asking when nobody reads", async () => {
    daemon.messages = some(5000);
    const stdout = { colour: false, write: () => Promise.reject(new BrokenPipe("gone")) };
    expect(await run(["queue", "list", ...daemon.at], { stdout })).toMatchObject({
      code: 0,
      err: "",
    });
    expect(daemon.calls).toHaveLength(1);
  });

  test("limit and selectors are passed on", async () => {
    daemon.messages = some(20);
    const flags = ["--limit=7", "--state", "deferred", "--domain=example.net", "--sender="];
    const { out } = await run(["queue", "list", ...daemon.at, ...flags]);
    expect(out).toContain("in 7 Requests.");
    expect(daemon.calls).toEqual([
      "GET /v1/messages?state=deferred&domain=example.net&sender=&recipients=true&limit=7",
    ]);
  });

  test("JSON lines are those of postqueue -j", async () => {
    daemon.messages = some(1);
    const { out } = await run(["queue", "list", ...daemon.at, "--json"]);
    expect(JSON.parse(out)).toEqual({
      queue_name: "deferred",
      queue_id: "1F6YH3Q2K0000000",
      arrival_time: Date.parse("2026-11-05T04:03:02Z") / 1000,
      message_size: 2048,
      forced_expire: false,
      sender: "s@example.org",
      recipients: [
        { address: "a@example.net", delay_reason: "451 4.4.1 connect to mx: timed out" },
        { address: "b@example.net", delay_reason: "451 4.4.1 connect to mx: timed out" },
        { address: "(done)" },
      ],
    });
  });

  test("nothing of a message can steer the terminal", async () => {
    daemon.messages = some(1).map((one) => ({ ...one, sender: "\u001b[31mx\r\ny" }));
    const { out } = await run(["queue", "list", ...daemon.at]);
    expect(out).not.toContain("\u001b");
    expect(out).toContain(" [31mx y\n");
  });
});

describe("queue show", () => {
  const [id] = some(1).map((one) => one.id);
  beforeEach(() => {
    daemon.messages = some(1);
  });

  test("tells the state and each recipient", async () => {
    const { out } = await run(["queue", "show", `${id}*`, ...daemon.at]);
    expect(out).toContain(`id        ${id}\n`);
    expect(out).toContain("client    c.example [192.0.2.1], ESMTP\n");
    expect(out).toContain("to        <b@example.net> pending by mx[192.0.2.9]:25\n");
    expect(out).toContain("          (451 4.4.1 connect to mx: timed out)\n");
  });

  test("tells which node has a message, where several share the queue", async () => {
    const { out: mine } = await run(["queue", "show", `${id}`, ...daemon.at]);
    expect(mine).not.toContain("held by");
    daemon.messages = some(1, "active");
    const { out } = await run(["queue", "show", `${id}`, ...daemon.at]);
    expect(out).toContain("held by   relay-1/1F6YH3Q2K0NODE00 until 2026-11-05T04:18:02.000Z\n");
  });

  test("raw content comes byte by byte, the header alone on request", async () => {
    const raw: Uint8Array[] = [];
    const stdout = {
      colour: false,
      write: async (data: string | Uint8Array) => {
        raw.push(Buffer.from(data));
      },
    };
    await run(["queue", "show", `${id}`, "--raw", ...daemon.at], { stdout });
    expect(Buffer.concat(raw).toString("latin1")).toBe(CONTENT);
    raw.length = 0;
    await run(["queue", "show", `${id}`, "--headers", ...daemon.at], { stdout });
    expect(Buffer.concat(raw).toString("latin1")).toBe("Subject: hi\r\nX: \u00e9\r\n");
  });

  test("JSON is the daemon's own", async () => {
    const { out } = await run(["queue", "show", `${id}`, "--json", ...daemon.at]);
    expect(JSON.parse(out)).toMatchObject({ id, client: { name: "c" } });
  });

  test("a message that is not there", async () => {
    for (const flag of [[], ["--raw"], ["--headers"], ["--json"]]) {
      expect(await run(["queue", "show", "NOPE", ...flag, ...daemon.at])).toEqual({
        code: 65,
        out: "",
        err: "error: NOPE: no such message\n",
      });
    }
    expect(await run(["queue", "show", "../x", ...daemon.at])).toMatchObject({ code: 65 });
    expect(daemon.calls.filter((call) => call.includes(".."))).toEqual([]);
  });
});

describe("queue verbs", () => {
  const VERBS = [
    ["retry", "due now", "POST"],
    ["hold", "held", "POST"],
    ["release", "released", "POST"],
    ["bounce", "bounced", "POST"],
    ["remove", "removed", "DELETE"],
  ] as const;

  for (const [verb, done, method] of VERBS) {
    test(`${verb}: ids, ids from stdin, selectors, all`, async () => {
      daemon.messages = some(3);
      const [a, b, c] = daemon.messages.map(({ id }) => id);
      const path = (id = "") => `/v1/messages/${id}${method === "DELETE" ? "" : `/${verb}`}`;
      const named = await run(["queue", verb, `${a}`, "-", ...daemon.at], {
        stdin: stream(`${b}* MISSING\n`, `${c}`),
      });
      expect(named).toEqual({
        code: 65,
        out: `${a}: ${done}\n${b}: ${done}\n${c}: ${done}\n`,
        err: "MISSING: no such message\n",
      });
      // Several are asked for at once; only what is told keeps the order.
      const asked = [a, b, "MISSING", c].map((id) => `${method} ${path(id)}`);
      expect(daemon.calls.toSorted()).toEqual(asked.toSorted());
      daemon.calls = [];
      const selected = await run([
        "queue",
        verb,
        "--domain",
        "a.b",
        "--sender=",
        "--state=hold",
        ...daemon.at,
      ]);
      expect(selected).toEqual({ code: 0, out: `${done} 2 messages\n`, err: "" });
      await run(["queue", verb, "--all", ...daemon.at]);
      expect(daemon.calls).toEqual([
        `POST /v1/messages/${verb}?state=hold&domain=a.b&sender=`,
        `POST /v1/messages/${verb}?all=true`,
      ]);
    });
  }

  test("many ids at once, told in the order given", async () => {
    daemon.messages = some(500);
    const ids = daemon.messages.map(({ id }) => id);
    const { out, code } = await run(["queue", "hold", "-", ...daemon.at], {
      stdin: stream(`${ids.join("\n")}\n`),
    });
    expect([code, out]).toEqual([0, ids.map((id) => `${id}: held\n`).join("")]);
  });

  test("a refusal or a wrong id ends it, after what was done is told", async () => {
    daemon.messages = some(3);
    const [a = "", b = "", c = ""] = daemon.messages.map(({ id }) => id);
    const wrong = await run(["queue", "hold", a, b, "no/id", c, ...daemon.at]);
    expect(wrong).toMatchObject({ code: 65, out: `${a}: held\n${b}: held\n` });
    expect(wrong.err).toContain('not a message id: "no/id"');
    daemon.answer = ({ url }) => (url.includes(b) ? problem(503, "Busy") : Response.json({}));
    const refused = await run(["queue", "hold", a, b, c, ...daemon.at]);
    expect(refused).toEqual({
      code: 75,
      out: `${a}: held\n${c}: held\n`,
      err: "error: the daemon answers 503: Busy\n",
    });
  });

  test("stdin that holds no ids touches nothing", async () => {
    expect(
      await run(["queue", "remove", "-", ...daemon.at], { stdin: stream("../../etc\n") }),
    ).toMatchObject({
      code: 65,
    });
    const flood = stream("A".repeat(5000), "B".repeat(5000));
    expect(await run(["queue", "remove", "-", ...daemon.at], { stdin: flood })).toMatchObject({
      code: 65,
    });
    expect(daemon.calls).toEqual([]);
  });

  test("flush takes the whole queue, a part of it, or ids", async () => {
    daemon.messages = some(1);
    expect(await run(["queue", "flush", ...daemon.at])).toEqual({
      code: 0,
      out: "flushed 7 messages\n",
      err: "",
    });
    await run(["queue", "flush", "--domain=x.y", ...daemon.at]);
    await run(["queue", "flush", daemon.messages[0]?.id ?? "", ...daemon.at]);
    expect(daemon.calls).toEqual([
      "POST /v1/flush",
      "POST /v1/flush?domain=x.y",
      `POST /v1/messages/${daemon.messages[0]?.id}/retry`,
    ]);
  });

  test("count", async () => {
    const { out } = await run(["queue", "count", ...daemon.at]);
    expect(out).toBe("active             1\nhold               2\ntotal              3\n");
    expect(JSON.parse((await run(["queue", "count", "--json", ...daemon.at])).out)).toMatchObject({
      more: true,
    });
  });
});
