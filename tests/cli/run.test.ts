import { describe, expect, test } from "bun:test";
import { BrokenPipe } from "../../src/cli/cli-error.ts";
import { COMMANDS } from "../../src/cli/run.ts";
import { parts, run, served } from "./help.ts";

describe("the flags of serve", () => {
  test("each sets its setting, with = and without", async () => {
    const { config } = await served([
      "--smtp",
      "127.0.0.1:1025",
      "--smtp=[::1]:1025",
      "--admin=127.0.0.1:0",
      "--spool",
      "/s",
      "--relay",
      "smtp://a:1",
      "--relay=smtps://u:p=q@b",
      "--hostname=h.example",
      "--trust",
      "10.0.0.0/8",
      "--trust=192.0.2.1",
      "--log-format",
      "json",
      "--set=smtp.size_max=1MiB",
      "--set",
      "queue.delay_notice=off",
    ]);
    expect(config).toMatchObject({
      smtp: {
        listen: [
          { host: "127.0.0.1", port: 1025 },
          { host: "::1", port: 1025 },
        ],
        hostname: "h.example",
        trust: ["10.0.0.0/8", "192.0.2.1/32"],
        sizeMax: 1_048_576,
      },
      admin: { listen: [{ kind: "tcp", host: "127.0.0.1", port: 0 }] },
      spool: { dir: "/s" },
      relay: { to: { hosts: [{ host: "a" }, { host: "b", username: "u", password: "p=q" }] } },
      log: { format: "json" },
      queue: { delayNotice: null },
    });
  });

  test("--config names the file, which the environment overrides and flags override again", async () => {
    const readFile = (path: string) => (path === "/c.toml" ? "log.level = 'debug'" : undefined);
    const level = async (...more: string[]) => {
      const env = more.length > 0 ? { SLIMTA_QUEUE_LOG__LEVEL: "error" } : {};
      const flags = more.slice(1);
      return (await served(["--config", "/c.toml", ...flags], { readFile, env })).config.log.level;
    };
    expect(await level()).toBe("debug");
    expect(await level("env")).toBe("error");
    expect(await level("env", "--set=log.level=warning")).toBe("warning");
  });

  test("the configuration can be read again", async () => {
    let toml = "log.level = 'debug'";
    const { io } = await served(["--config=/c.toml", "--log-format=json"], {
      readFile: () => toml,
    });
    toml = "log.level = 'error'";
    expect(io.reload()).toMatchObject({
      kind: "loaded",
      config: { log: { level: "error", format: "json" } },
    });
    toml = "log.level = 'none'";
    expect(io.reload()).toMatchObject({ kind: "refused" });
  });

  test("a bad configuration serves nothing, tells everything and ends with 78", async () => {
    const serve = () => Promise.reject(new Error("must not be called"));
    const ran = await run(["serve", "--smtp", "x", "--relay=ftp://h"], { serve });
    expect(ran.code).toBe(78);
    expect(ran.err).toContain("error: smtp.listen[0]: expected host:port");
    expect(ran.err).toContain("(--relay)");
    expect(ran.err).toEndWith("2 problems in the configuration\n");
  });

  test("what serve and fsck end with is what the program ends with", async () => {
    expect((await run(["serve"], { serve: async () => 75 })).code).toBe(75);
    const fsck = async (_: unknown, { repair }: { repair: boolean }) => (repair ? 3 : 4);
    expect((await run(["fsck"], { fsck })).code).toBe(4);
    expect((await run(["fsck", "--repair", "--spool=/x"], { fsck })).code).toBe(3);
  });
});

describe("a wrong command line ends with 64 and says why", () => {
  const WRONG: readonly (readonly [string, string])[] = [
    ["", "Usage:"],
    ["srve", 'unknown command "srve"; did you mean "serve"?'],
    ["banana", 'unknown command "banana"\n'],
    ["queue", "queue what? One of list, show"],
    ["queue --json", "queue what?"],
    ["queue lits", 'did you mean "list"?'],
    ["config chekc", 'did you mean "check"?'],
    ["serve --smpt x:1", 'unknown flag --smpt; did you mean "--smtp"?'],
    ["serve --bananas", "unknown flag --bananas\n"],
    ["serve -x", "unknown flag -x"],
    ["serve --smtp", "--smtp needs a value: HOST:PORT"],
    ["serve --smtp --admin=x", "--smtp needs a value"],
    ["serve --set smtp", "--set: expected path.to.key=value"],
    ["fsck --repair=yes", "--repair takes no value"],
    ["queue list --limit 0", "--limit: expected a whole number from 1"],
    ["queue list --limit ten", "--limit: expected a whole number"],
    ["queue list --state defered", 'did you mean "deferred"?'],
    ["queue show", "show which message?"],
    ["queue show A B", "show which message?"],
    ["queue remove", "remove what?"],
    ["queue hold A --all", "not several"],
    ["queue hold --domain x --all", "not several"],
    ["sink now", "flags only"],
    ["sink --listen 25", "--listen: expected HOST:PORT"],
    ["sink --defer half", "--defer: expected a share"],
    ["sink --defer 60% --drop 50%", "more than 100%"],
    ["sink --at helo", "--at: expected one of connect"],
    ["sink --print all", "--print: expected one of"],
    ["sink --seed -1", "--seed: expected a whole number"],
    ["sink --max-messages 0", "--max-messages: expected"],
  ];
  for (const [line, text] of WRONG) {
    test(`slimta-queue ${line}`, async () => {
      const ran = await run(line.split(" ").filter(Boolean));
      expect(ran).toMatchObject({ code: 64, out: "" });
      expect(ran.err).toContain(text);
    });
  }
});

describe("help", () => {
  test("every command explains itself, with examples that start like it", async () => {
    const overview = await run(["help"]);
    expect(overview.code).toBe(0);
    for (const { name, examples, configured } of COMMANDS) {
      expect(overview.out).toContain(`  ${name} `);
      const words = name.split(" ");
      const ran = await run([...words, "--help"]);
      expect(ran.code).toBe(0);
      expect(ran.out).toStartWith(`Usage: slimta-queue ${name}`);
      expect(ran.out.includes("--set PATH=VALUE")).toBe(configured);
      expect(
        examples.some(
          (example) => example.includes(`slimta-queue ${name}`) || name === "healthcheck",
        ),
      ).toBe(true);
      expect(await run(["help", ...words])).toEqual(ran);
      expect(await run([...words, "--nonsense", "-h"])).toEqual(ran);
    }
  });

  test("a group lists its commands", async () => {
    const { out, code } = await run(["queue", "--help"]);
    expect(code).toBe(0);
    expect(out).toContain("queue flush");
    expect(out).not.toContain("config check");
  });

  test("help for what does not exist is a usage error", async () => {
    expect((await run(["help", "qeue"])).code).toBe(64);
  });
});

test("version", async () => {
  expect(await run(["version"])).toEqual({ code: 0, out: "slimta-queue 1.2.3 (abc)\n", err: "" });
  expect((await run(["--version"])).out).toBe("slimta-queue 1.2.3 (abc)\n");
});

describe("config check and explain", () => {
  const readFile = (path: string) => {
    return path === "/etc/slimta-queue/config.toml"
      ? "relay.to = 'smtp://u:hush@h'\nadmin.token = 'hush'\n"
      : undefined;
  };

  test("check is content, or reports all and ends with 78", async () => {
    expect(await run(["config", "check"])).toEqual({
      code: 0,
      out: "configuration is good (no file)\n",
      err: "",
    });
    expect((await run(["config", "check"], { readFile })).out).toContain(
      "(/etc/slimta-queue/config.toml)",
    );
    const bad = await run(["config", "check", "--set=log.level=x", "--set=a.b=c"]);
    expect(bad).toMatchObject({ code: 78, out: "" });
    expect(bad.err.split("\n")).toHaveLength(4);
    const json = await run(["config", "check", "--json", "--set=log.level=x"]);
    expect(json.code).toBe(78);
    expect(JSON.parse(json.out)).toMatchObject({
      issues: [{ path: "log.level", found: '"x"', origin: { kind: "flag", name: "--set" } }],
    });
  });

  test("explain prints TOML that makes the same configuration, without secrets", async () => {
    const { out, code } = await run(["config", "explain"]);
    expect(code).toBe(0);
    const again = await run(["config", "check", "--config=/x"], { readFile: () => out });
    expect(again).toMatchObject({ code: 0, err: "" });
    const secret = await run(["config", "explain", "relay", "admin.token"], { readFile });
    expect(secret.out).not.toContain("hush");
    expect(secret.out).toContain('relay.to = "smtp://<secret>@h"  # /etc/slimta-queue/config.toml');
    expect(secret.out).toContain('admin.token = "<secret>"');
    expect(secret.out).not.toContain("smtp.listen");
  });

  test("explain as JSON says where each value came from", async () => {
    const env = { SLIMTA_QUEUE_ADMIN__TOKEN: "hush" };
    const { out } = await run(["config", "explain", "--json", "--hostname=a.b"], { env });
    expect(out).not.toContain("hush");
    const all = JSON.parse(out) as { path: string; value: unknown; origin: string }[];
    const find = (path: string) => all.find((one) => one.path === path);
    expect(find("smtp.hostname")).toMatchObject({ value: "a.b", origin: "--hostname" });
    expect(find("admin.token")).toMatchObject({
      value: "<secret>",
      origin: "$SLIMTA_QUEUE_ADMIN__TOKEN",
      variable: "SLIMTA_QUEUE_ADMIN__TOKEN",
    });
    expect(find("log.level")).toMatchObject({ origin: "default", default: "info" });
  });
});

describe("what goes wrong", () => {
  test("a reader that went away ends a command quietly", async () => {
    const write = () => Promise.reject(new BrokenPipe("gone"));
    const stdout = { colour: false, write };
    expect(await run(["version"], { stdout })).toMatchObject({ code: 0, err: "" });
    const { runCli } = await import("../../src/cli/run.ts");
    expect(await runCli(["nonsense"], parts({ stderr: { colour: false, write } }))).toBe(74);
  });

  test("a bug is told and ends with 70", async () => {
    const serve = () => Promise.reject(new Error("boom"));
    expect(await run(["serve"], { serve })).toMatchObject({
      code: 70,
      err: "error: internal error: Error: boom\n",
    });
  });

  test("colours only where they are wanted", async () => {
    let text = "";
    const stderr = {
      colour: true,
      write: async (data: string | Uint8Array) => {
        text += String(data);
      },
    };
    await run(["nonsense"], { stderr });
    expect(text).toContain("\u001b[31merror:\u001b[0m");
    expect((await run(["nonsense"])).err).not.toContain("\u001b");
  });
});
