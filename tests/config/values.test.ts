import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { settingFlag } from "../../src/config/flags.ts";
import { loadConfig } from "../../src/config/load.ts";
import { readDuration, readPercent, readSize } from "../../src/config/units.ts";
import { input, loaded, problems } from "./help.ts";

const PEM = {
  "/c.pem": "-----BEGIN CERTIFICATE-----",
  "/k.pem": "-----BEGIN PRIVATE KEY-----",
  "/x.der": "0000",
};

/** What a setting refuses, and what it says it wants. */
const WRONG: readonly [path: string, expected: RegExp, values: readonly unknown[]][] = [
  [
    "smtp.listen",
    /host:port|list/u,
    [
      "25",
      "127.0.0.1",
      "127.0.0.1:",
      ":25",
      "h:65536",
      "::1:25",
      "[h]:25",
      "a b:1",
      25,
      ["h:1", 3],
    ],
  ],
  ["smtp.tls.listen", /host:port/u, ["465"]],
  ["smtp.tls.cert_file", /absolute path/u, ["c.pem", 1, "/a\u0000b"]],
  [
    "smtp.trust",
    /network|list/u,
    ["10.0.0.0/33", "10.0.0.5/8", "10.0.0", "x", "::1/129", "2001:db8::1/32", "1.2.3.4/", 10],
  ],
  ["smtp.hostname", /host name/u, ["", "a_b", "-a", "a..b", "1.2.3.4", "x".repeat(64), 5]],
  ["smtp.size_max", /size/u, ["", "25 potatoes", "25mib", "-1", "1KiB", "9TiB", 1.5, true, [1]]],
  ["smtp.recipients_max", /whole number from 1/u, [0, -1, 1.5, "ten", "1e3", "", 100_001, true]],
  ["smtp.bare_newlines", /one of normalise, refuse/u, ["Refuse", "", 1]],
  ["smtp.timeout", /duration/u, ["5", 300, "5 m", "m5", "-5m", "1y", "", "99ms", "400d", true]],
  ["smtp.header_max", /size/u, ["1MiB", "1"]],
  ["spool.dir", /absolute path/u, ["spool", "./x", "~/x", "", 3]],
  [
    "spool.url",
    /memory:/u,
    [
      "memory",
      "memory:x",
      "/var/spool",
      "ftp://h",
      "redis://h/x",
      "redis:h",
      "postgres:db",
      3,
      ["memory:"],
    ],
  ],
  ["spool.free_min_percent", /percentage/u, ["101%", "-1%", "x", "", "1/10", 101]],
  [
    "relay.to",
    /smtp:\/\/|alone|list/u,
    [
      "localhost",
      "http://h",
      "smtp://",
      "smtp://h:0",
      "smtp://h:70000",
      "smtp://h/path",
      "smtp://@h",
      "smtp://u@h",
      "mx,smtp://h",
      ["mx", "none"],
      [],
      "",
      7,
    ],
  ],
  ["relay.tls", /one of opportunistic/u, ["yes", "may", true]],
  ["relay.username", /text on one line/u, ["a\nb", 3]],
  ["relay.dns_servers", /host:port/u, ["192.0.2.1", "x"]],
  ["relay.mx_port", /whole number/u, [0, 65_536, "smtp"]],
  ["queue.retry", /list|duration/u, ["none", [], ["x"], "1m,,x", "999ms"]],
  ["queue.delay_notice", /duration.*"off"/u, ["never", "", -1, true]],
  ["policy.chain", /one of|at most once/u, ["dkim", ["date", "date"], "date,nope"]],
  ["bounce.postmaster", /address/u, ["", "root", "a b@c", "a@"]],
  [
    "admin.listen",
    /host:port/u,
    ["8425", "unix:relative", `/${"x".repeat(107)}`, "http://127.0.0.1:1"],
  ],
  ["admin.socket", /absolute path/u, ["", "on", "auto", "auto:x", `/${"x".repeat(107)}`, true]],
  ["admin.token", /text/u, ["a\tb", 5]],
  ["log.format", /one of text, json/u, ["xml"]],
  ["shutdown.grace", /duration/u, ["30", "soon"]],
];

describe("what is wrong is refused, with its path and what was expected", () => {
  for (const [path, expected, values] of WRONG) {
    test(path, () => {
      for (const value of values) {
        const [problem = "", ...more] = problems({ toml: `${path} = ${JSON.stringify(value)}` });
        expect([value, problem]).toEqual([value, expect.stringMatching(expected)]);
        expect(problem.startsWith(path)).toBe(true);
        expect(more.filter((line) => !line.startsWith(path))).toEqual([]);
      }
    });
  }
});

describe("what is right is read", () => {
  const relayTo = (to: string) => loaded({ set: [`relay.to=${to}`] }).config.relay.to;

  test("relays", () => {
    expect(relayTo("mx")).toEqual({ kind: "mx" });
    expect(relayTo("none")).toEqual({ kind: "none" });
    expect(relayTo("blackhole")).toEqual({ kind: "blackhole" });
    const login = { username: null, password: null };
    expect(relayTo("smtp://127.0.0.1:2600 smtps://b.example smtp://[::1]:26/")).toEqual({
      kind: "smarthost",
      hosts: [
        { host: "127.0.0.1", port: 2600, implicitTls: false, ...login },
        { host: "b.example", port: 465, implicitTls: true, ...login },
        { host: "::1", port: 26, implicitTls: false, ...login },
      ],
    });
    expect(relayTo("smtp://u%40x:p%3Aq%@mail_relay")).toMatchObject({
      hosts: [{ host: "mail_relay", port: 25, username: "u@x", password: "p%3Aq%" }],
    });
    expect(relayTo("smtp://u:p@ss@h:587")).toMatchObject({
      hosts: [{ host: "h", password: "p@ss" }],
    });
  });

  test("one flag names the directory or the store, whatever the file says", () => {
    const spool = (value: string, toml: string) => {
      const flags = settingFlag("spool", value) ?? [];
      const result = loadConfig({ ...input({ toml }), flags });
      return result.kind === "loaded" ? result.config.spool : result.issues;
    };
    expect(spool("memory:", "spool.dir = '/a'")).toMatchObject({ url: { kind: "memory" } });
    expect(spool("/b", "spool.url = 'memory:'")).toMatchObject({ dir: "/b", url: null });
    expect(loaded({ toml: "spool.url = 'memory:'" }).config.spool.url).toEqual({ kind: "memory" });
    expect(spool("redis://:hush@h:1/2", "")).toMatchObject({
      url: { kind: "redis", address: { database: 2, password: "hush" } },
    });
    const url = "postgresql://me:word@db.example/queue?schema=a";
    expect(spool(url, "")).toMatchObject({ url: { kind: "postgres", url } });
    for (const name of ["data:1", "c:"]) {
      expect(JSON.stringify(spool(name, ""))).toContain(
        "a directory is named by its absolute path",
      );
    }
  });

  test("admin endpoints and their socket", () => {
    const admin = (...set: string[]) => loaded({ set }).config.admin;
    expect(admin("admin.listen=/run/a.sock").listen).toEqual([
      { kind: "unix", path: "/run/a.sock" },
    ]);
    expect(admin("admin.listen=unix:/a,127.0.0.1:0").listen).toHaveLength(2);
    expect(admin("admin.listen=127.0.0.1:0").socket).toBeNull();
    expect(admin("admin.listen=127.0.0.1:0", "admin.socket=/a").socket).toEqual({
      path: "/a",
      required: true,
    });
    expect(admin("admin.socket=off").socket).toBeNull();
  });

  test("off and zero mean no delay notice", () => {
    for (const value of ['"off"', "0", '"0"', "false", '"0s"']) {
      expect(loaded({ toml: `queue.delay_notice = ${value}` }).config.queue.delayNotice).toBeNull();
    }
  });

  test("narrower limits count for wider ones", () => {
    expect(loaded({ set: ["queue.per_destination_max=3"] }).config.queue).toMatchObject({
      perDestinationMax: 3,
      perDestinationStart: 3,
    });
  });

  test("all nodes together may do more at a destination than one node does at all", () => {
    expect(loaded({ set: ["queue.deliveries_max=3"] }).config.queue).toMatchObject({
      deliveriesMax: 3,
      perDestinationMax: 20,
      perDestinationStart: 5,
    });
  });

  test("durations, sizes and shares", () => {
    expect(["30s", "5m", "4h", "5d", "250ms", "1h30m", "0", 0].map(readDuration)).toEqual([
      30e3, 300e3, 14_400e3, 432_000e3, 250, 5400e3, 0, 0,
    ]);
    expect(["25MiB", "512KiB", "10MB", "1.5GiB", "7", 7, "7B", "1 kB"].map(readSize)).toEqual([
      26_214_400, 524_288, 10_000_000, 1_610_612_736, 7, 7, 7, 1000,
    ]);
    expect(["10%", "10", 10, "0.5%", "100%"].map(readPercent)).toEqual([0.1, 0.1, 0.1, 0.005, 1]);
    expect(["0.3B", "1.5", 1.5].map(readSize)).toEqual([undefined, undefined, undefined]);
  });

  test("a duration is the sum of its parts", () => {
    const unit = fc.constantFrom(
      ["ms", 1] as const,
      ["s", 1e3] as const,
      ["m", 6e4] as const,
      ["h", 3.6e6] as const,
      ["d", 8.64e7] as const,
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(1e6), unit), { minLength: 1, maxLength: 5 }),
        (parts) => {
          const text = parts.map(([count, [name]]) => `${count}${name}`).join("");
          const ms = parts.reduce((sum, [count, [, factor]]) => sum + count * factor, 0);
          return readDuration(text) === ms;
        },
      ),
    );
  });
});

describe("settings that are wrong together", () => {
  test("an admin endpoint beyond this host needs a token", () => {
    for (const listen of ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "mail.example.org:1"]) {
      expect(problems({ set: [`admin.listen=${listen}`] })).toEqual([
        `admin.listen: ${listen} can be reached from other hosts, which needs an admin.token (--set)`,
      ]);
      expect(loaded({ set: [`admin.listen=${listen}`, "admin.token=t"] }).config.admin.token).toBe(
        "t",
      );
    }
    for (const listen of ["127.0.0.9:1", "[::1]:1", "localhost:1", "/run/x.sock"]) {
      expect(loaded({ set: [`admin.listen=${listen}`] }).kind).toBe("loaded");
    }
  });

  test("everybody is nobody to trust", () => {
    expect(problems({ set: ["smtp.trust=0.0.0.0/0,::/0"] })).toEqual([
      "smtp.trust: 0.0.0.0/0 is everybody: this would be an open relay (--set)",
      "smtp.trust: ::/0 is everybody: this would be an open relay (--set)",
    ]);
  });

  test("a certificate has a key, both in PEM, and implicit TLS has a certificate", () => {
    const cert = "smtp.tls.cert_file";
    const key = "smtp.tls.key_file";
    const files = PEM;
    expect(problems({ set: [`${cert}=/c.pem`], files })[0]).toStartWith(
      `${key}: a certificate and`,
    );
    expect(problems({ set: [`${key}=/k.pem`], files })[0]).toStartWith(
      `${cert}: a certificate and`,
    );
    expect(problems({ set: [`${cert}=/no.pem`, `${key}=/x.der`], files })).toEqual([
      `${cert}: cannot read /no.pem: no such file (--set)`,
      `${key}: /x.der is not in PEM format (--set)`,
    ]);
    expect(problems({ set: ["smtp.tls.listen=127.0.0.1:465"] })[0]).toContain(
      "needs smtp.tls.cert_file",
    );
    const set = [`${cert}=/c.pem`, `${key}=/k.pem`, "smtp.tls.listen=127.0.0.1:465"];
    expect(loaded({ set, files }).kind).toBe("loaded");
  });

  test("a login is whole, and never for MX hosts", () => {
    const set = ["relay.to=smtp://h"];
    expect(problems({ set: [...set, "relay.username=u"] })[0]).toStartWith(
      "relay.password: a username",
    );
    expect(problems({ set: [...set, "relay.password=p"] })[0]).toStartWith(
      "relay.username: a username",
    );
    expect(problems({ set: ["relay.username=u", "relay.password=p"] })).toEqual([
      "relay.username: a login is for the hosts of relay.to, and relay.to is mx (--set)",
    ]);
  });

  test("nothing is listened on twice", () => {
    expect(problems({ set: ["smtp.listen=127.0.0.1:8425"] })).toEqual([
      "admin.listen: 127.0.0.1:8425 is listed twice (default)",
    ]);
    expect(
      loaded({ set: ["smtp.listen=127.0.0.1:0,127.0.0.1:0"] }).config.smtp.listen,
    ).toHaveLength(2);
  });
});
