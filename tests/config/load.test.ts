import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { variableOf } from "../../src/config/layers.ts";
import { loadConfig } from "../../src/config/load.ts";
import { formatOrigin } from "../../src/config/origin.ts";
import { FILE, input, loaded, problems, refused, root } from "./help.ts";

function originOf(given: Parameters<typeof loaded>[0], path: string): string {
  const value = loaded(given).values.find(({ setting }) => setting.path === path);
  return value === undefined ? "no such setting" : formatOrigin(value.origin);
}

describe("without any configuration", () => {
  test("every setting has a default, and the defaults are good", () => {
    const { config, file, values } = loaded({});
    expect(file).toBeUndefined();
    expect(values.every(({ origin }) => origin.kind === "default")).toBe(true);
    expect(config.smtp).toEqual({
      listen: [{ host: "127.0.0.1", port: 2525 }],
      tls: { listen: [], certFile: null, keyFile: null },
      trust: ["127.0.0.0/8", "::1/128"],
      hostname: "mx1.example.org",
      sizeMax: 25 * 1024 * 1024,
      recipientsMax: 1000,
      headerMax: 65_536,
      receivedMax: 50,
      bareNewlines: "normalise",
      connectionsMax: 1000,
      connectionsPerClientMax: 50,
      greetingPause: 100,
      timeout: 300_000,
      spill: 262_144,
    });
    expect(config.spool).toEqual({
      dir: "/var/spool/slimta-queue",
      url: null,
      freeMin: 512 * 1024 * 1024,
      freeMinPercent: 0.1,
      memory: 64 * 1024 * 1024,
    });
    expect(config.queue).toMatchObject({
      retry: [60e3, 300e3, 900e3, 1800e3, 3600e3, 7200e3, 14_400e3],
      jitter: 0.1,
      lifetime: 5 * 86_400e3,
      bounceLifetime: 86_400e3,
      delayNotice: 14_400e3,
      deliveriesMax: 200,
      perDestinationMax: 20,
      perDestinationStart: 5,
    });
    expect(config.relay).toMatchObject({ to: { kind: "mx" }, ehlo: "mx1.example.org", mxPort: 25 });
    expect(config.relay.timeout).toEqual({
      connect: 30e3,
      greeting: 300e3,
      command: 300e3,
      data: 120e3,
      block: 180e3,
      end: 600e3,
      dns: 10e3,
    });
    expect(config.policy.chain).toEqual(["date", "message-id", "received", "split-domain"]);
    expect(config.bounce.postmaster).toBe("postmaster@mx1.example.org");
    expect(config.admin).toEqual({
      listen: [{ kind: "tcp", host: "127.0.0.1", port: 8425 }],
      socket: { path: "/run/slimta-queue/admin.sock", required: false },
      hosts: [],
      token: null,
    });
    expect(config.log).toEqual({ format: "text", level: "info" });
    expect(config.shutdown).toEqual({ grace: 30e3 });
  });

  test("every setting says what it means", () => {
    for (const { setting } of loaded({}).values) expect(setting.doc).toMatch(/^[A-Z].*\.$/u);
  });
});

describe("where things are", () => {
  const user = { uid: 1000, home: "/home/ann", hostname: "desk" };

  test("a user's spool and socket follow the XDG directories", () => {
    expect(loaded({ facts: user }).config).toMatchObject({
      spool: { dir: "/home/ann/.local/state/slimta-queue" },
      admin: { socket: { path: "/run/user/1000/slimta-queue/admin.sock", required: false } },
    });
    const env = { XDG_STATE_HOME: "/s", XDG_RUNTIME_DIR: "/r" };
    expect(loaded({ facts: user, env }).config).toMatchObject({
      spool: { dir: "/s/slimta-queue" },
      admin: { socket: { path: "/r/slimta-queue/admin.sock" } },
    });
  });

  test("systemd's directories count for everybody", () => {
    const env = { STATE_DIRECTORY: "/var/lib/slimta:/other", RUNTIME_DIRECTORY: "/run/slimta" };
    for (const facts of [user, root]) {
      expect(loaded({ facts, env }).config).toMatchObject({
        spool: { dir: "/var/lib/slimta" },
        admin: { socket: { path: "/run/slimta/admin.sock" } },
      });
    }
  });

  test("a user's configuration file goes before the system's", () => {
    const mine = "/home/ann/.config/slimta-queue/config.toml";
    const files = { [mine]: "log.level = 'debug'", [FILE]: "log.level = 'error'" };
    expect(loaded({ facts: user, files }).config.log.level).toBe("debug");
    expect(loaded({ facts: user, files }).file).toBe(mine);
    expect(loaded({ facts: root, files }).config.log.level).toBe("error");
    const env = { XDG_CONFIG_HOME: "/c" };
    const elsewhere = { "/c/slimta-queue/config.toml": "log.level = 'warning'" };
    expect(loaded({ facts: user, env, files: elsewhere }).config.log.level).toBe("warning");
  });

  test("the machine's name becomes a valid host name", () => {
    const name = (hostname: string) =>
      loaded({ facts: { ...root, hostname } }).config.smtp.hostname;
    expect(name("vm")).toBe("vm");
    expect(name("Build_Host.Example.ORG")).toBe("build-host.example.org");
    expect(name("-x-..y")).toBe("x.y");
    expect(name("")).toBe("localhost");
    expect(name("12345")).toBe("localhost");
    fc.assert(
      fc.property(fc.string(), (hostname) => {
        return loadConfig(input({ facts: { ...root, hostname } })).kind === "loaded";
      }),
    );
  });
});

describe("layers", () => {
  const toml = "[relay]\npassword = 'file'\nusername = 'u'\nto = 'smtp://file'\n";
  const dropIn = { RELAYHOST: "[dropin]:587", RELAYHOST_PASSWORD: "dropin" };
  const credentials = { CREDENTIALS_DIRECTORY: "/cred" };
  const variable = { SLIMTA_QUEUE_RELAY__PASSWORD: "variable" };
  const files = { "/cred/relay.password": "credential\n", "/secret": "from a file\n" };

  test("each goes before the ones below it", () => {
    const password = (given: Parameters<typeof loaded>[0]) => loaded(given).config.relay.password;
    expect(password({ toml })).toBe("file");
    expect(password({ toml, files, env: credentials })).toBe("credential");
    expect(password({ toml, files, env: { ...credentials, ...dropIn } })).toBe("dropin");
    const env = { ...credentials, ...dropIn, ...variable };
    expect(password({ toml, files, env })).toBe("variable");
    expect(password({ toml, files, env, set: ["relay.password=flag"] })).toBe("flag");
  });

  test("each value knows where it came from", () => {
    const path = "relay.password";
    expect(originOf({ toml }, path)).toBe(FILE);
    expect(originOf({ toml, files, env: credentials }, path)).toBe("/cred/relay.password");
    expect(originOf({ toml, env: dropIn }, path)).toBe("$RELAYHOST_PASSWORD");
    expect(originOf({ toml, env: variable }, path)).toBe("$SLIMTA_QUEUE_RELAY__PASSWORD");
    expect(originOf({ toml, set: ["relay.password=x"] }, path)).toBe("--set");
    expect(originOf({ toml }, "log.level")).toBe("default");
    expect(originOf({ toml: "smtp.hostname = 'a.example'" }, "relay.ehlo")).toBe(
      "default, follows from smtp.hostname",
    );
  });

  test("a variable that ends in _FILE names a file, whose last newline does not count", () => {
    const env = { SLIMTA_QUEUE_RELAY__PASSWORD_FILE: "/secret" };
    expect(loaded({ toml, files, env }).config.relay.password).toBe("from a file");
    expect(originOf({ toml, files, env }, "relay.password")).toBe(
      "$SLIMTA_QUEUE_RELAY__PASSWORD_FILE",
    );
    const missing = { SLIMTA_QUEUE_RELAY__PASSWORD_FILE: "/nowhere" };
    expect(problems({ toml, env: missing })).toEqual([
      "relay.password: cannot read /nowhere: no such file ($SLIMTA_QUEUE_RELAY__PASSWORD_FILE)",
    ]);
    expect(problems({ toml, files, env: { ...env, ...variable } })).toEqual([
      "relay.password: SLIMTA_QUEUE_RELAY__PASSWORD_FILE is set too; set one ($SLIMTA_QUEUE_RELAY__PASSWORD)",
    ]);
  });

  test("a setting whose own name ends in _file is no such variable", () => {
    const files = {
      "/c.pem": "-----BEGIN CERTIFICATE-----",
      "/k.pem": "-----BEGIN PRIVATE KEY-----",
    };
    const env = {
      SLIMTA_QUEUE_SMTP__TLS__CERT_FILE: "/c.pem",
      SLIMTA_QUEUE_SMTP__TLS__KEY_FILE: "/k.pem",
    };
    expect(loaded({ env, files }).config.smtp.tls).toMatchObject({
      certFile: "/c.pem",
      keyFile: "/k.pem",
    });
  });

  test("RELAYHOST and its login are understood as Postfix images write them", () => {
    const login = { RELAYHOST_USERNAME: "u", RELAYHOST_PASSWORD_FILE: "/secret" };
    const to = (RELAYHOST: string) => loaded({ env: { ...login, RELAYHOST }, files }).config.relay;
    expect(to("[mail.example.org]:587")).toMatchObject({
      to: {
        kind: "smarthost",
        hosts: [{ host: "mail.example.org", port: 587, implicitTls: false }],
      },
      username: "u",
      password: "from a file",
    });
    expect(to("mail:465").to).toMatchObject({ hosts: [{ port: 465, implicitTls: true }] });
    expect(to("mail").to).toMatchObject({ hosts: [{ host: "mail", port: 25 }] });
    expect(to("[2001:db8::1]").to).toMatchObject({ hosts: [{ host: "2001:db8::1", port: 25 }] });
    expect(to("smtps://mail").to).toMatchObject({ hosts: [{ host: "mail", port: 465 }] });
    expect(problems({ env: { RELAYHOST: "a b c" } })[0]).toStartWith(
      "relay.to[0]: expected smtp://",
    );
  });

  test("an empty variable is not set, and an empty RELAYHOST neither", () => {
    const env = { SLIMTA_QUEUE_LOG__LEVEL: "", RELAYHOST: "", SLIMTA_QUEUE_CONFIG: "" };
    expect(loaded({ env }).config.log.level).toBe("info");
    expect(loaded({ env }).config.relay.to).toEqual({ kind: "mx" });
  });

  test("every setting can be set by its variable", () => {
    for (const { setting } of loaded({}).values) {
      const env = { [variableOf(setting.path)]: "\u0000" };
      expect(problems({ env }).join("\n")).toContain(`($${variableOf(setting.path)})`);
    }
  });

  test("flags of a list add up; of anything else the last one counts", () => {
    const set = [
      "smtp.listen=127.0.0.1:1",
      "smtp.listen=[::1]:2,h:3",
      "log.level=debug",
      "log.level=error",
    ];
    const { config } = loaded({ set });
    expect(config.smtp.listen.map(({ port }) => port)).toEqual([1, 2, 3]);
    expect(config.log.level).toBe("error");
  });

  test("a list is replaced by the layer above, and none empties it", () => {
    const toml = "[smtp]\ntrust = ['10.0.0.0/8', '192.0.2.1']\n";
    expect(loaded({ toml }).config.smtp.trust).toEqual(["10.0.0.0/8", "192.0.2.1/32"]);
    const env = { SLIMTA_QUEUE_SMTP__TRUST: "2001:db8::/32 192.0.2.0/24" };
    expect(loaded({ toml, env }).config.smtp.trust).toEqual(["2001:db8::/32", "192.0.2.0/24"]);
    expect(loaded({ toml, set: ["smtp.trust=none"] }).config.smtp.trust).toEqual([]);
  });

  test("the variables that Kubernetes makes for a service of our name are not ours", () => {
    const env = {
      SLIMTA_QUEUE_SERVICE_HOST: "10.0.0.1",
      SLIMTA_QUEUE_SERVICE_PORT_SMTP: "25",
      SLIMTA_QUEUE_PORT: "tcp://10.0.0.1:25",
      SLIMTA_QUEUE_PORT_25_TCP_ADDR: "10.0.0.1",
      SLIMTA_QUEUE_ADMIN_SERVICE_HOST: "10.0.0.1",
      SLIMTA_QUEUE_ADMIN_PORT_8425_TCP: "tcp://10.0.0.1:8425",
    };
    expect(loaded({ env }).kind).toBe("loaded");
  });
});

describe("the configuration file", () => {
  test("one that was asked for must be there", () => {
    expect(problems({ configFile: "/no.toml" })).toEqual([
      "cannot read /no.toml: no such file (--config)",
    ]);
    expect(problems({ env: { SLIMTA_QUEUE_CONFIG: "/no.toml" } })).toEqual([
      "cannot read /no.toml: no such file ($SLIMTA_QUEUE_CONFIG)",
    ]);
    const files = { "/a.toml": "log.level='debug'", "/b.toml": "log.level='error'" };
    const env = { SLIMTA_QUEUE_CONFIG: "/a.toml" };
    expect(loaded({ files, env }).config.log.level).toBe("debug");
    expect(loaded({ files, env, configFile: "/b.toml" }).config.log.level).toBe("error");
  });

  test("one that cannot be read is an issue and not ignored", () => {
    const readFile = () => {
      throw new Error("permission denied");
    };
    expect(loadConfig({ flags: [], env: {}, facts: root, readFile })).toMatchObject({
      kind: "refused",
      issues: [{ path: "", message: `cannot read ${FILE}: permission denied` }],
    });
  });

  test("a syntax error is told with its line", () => {
    const [problem] = problems({ toml: "[log]\nlevel = 'info'\nformat = = 'x'\n" });
    expect(problem).toContain("line 3");
    expect(problem).toContain(FILE);
  });

  test("unknown keys are told, each with what was meant", () => {
    const toml =
      "lgo = 1\n[smtp]\nlisten_to = 'x'\ntrusted = []\n[spool]\nlisten = []\n[smtp.tls]\ncertfile = 'x'\n";
    expect(problems({ toml })).toEqual([
      `lgo: no such setting; did you mean "log"? (${FILE})`,
      `smtp.listen_to: no such setting; did you mean "listen"? (${FILE})`,
      `smtp.trusted: no such setting; did you mean "trust"? (${FILE})`,
      `smtp.tls.certfile: no such setting; did you mean "cert_file"? (${FILE})`,
      `spool.listen: no such setting; did you mean "smtp.listen"? (${FILE})`,
    ]);
  });

  test("unknown variables and paths are told as well", () => {
    expect(
      problems({ env: { SLIMTA_QUEUE_SMTP_LISTEN: "x", SLIMTA_QUEUE_X__Y_FILE: "z" } }),
    ).toEqual([
      'SLIMTA_QUEUE_SMTP_LISTEN: no such setting; did you mean "SLIMTA_QUEUE_SMTP__LISTEN"? ($SLIMTA_QUEUE_SMTP_LISTEN)',
      expect.stringContaining("SLIMTA_QUEUE_X__Y_FILE: no such setting"),
    ]);
    expect(problems({ set: ["smtp.lissten=1", "__proto__.x=1"] })).toEqual([
      'smtp.lissten: no such setting; did you mean "smtp.listen"? (--set)',
      "__proto__.x: no such setting (--set)",
    ]);
  });

  test("a table where a value belongs, and a value where a table belongs", () => {
    expect(problems({ toml: "smtp = 1\n[log.level]\nx = 1\n" })).toEqual([
      `smtp: expected a table of settings (${FILE})`,
      `log.level: expected one of error, warning, info, debug, found {"x":1} (${FILE})`,
    ]);
  });

  test("any text at all gives a configuration or issues, never an exception", () => {
    fc.assert(fc.property(fc.string(), (toml) => loadConfig(input({ toml })).kind !== undefined));
  });

  test("any value for any setting gives a configuration or issues with its path", () => {
    const paths = loaded({}).values.map(({ setting }) => setting.path);
    const value = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.boolean(),
      fc.constant([]),
      fc.constant({}),
    );
    fc.assert(
      fc.property(fc.constantFrom(...paths), value, (path, raw) => {
        const toml = `${path} = ${JSON.stringify(raw)}`;
        const result = loadConfig(input({ toml }));
        return result.kind === "loaded" || result.issues.every((issue) => issue.message !== "");
      }),
      { numRuns: 300 },
    );
  });
});

test("everything that is wrong is told at once", () => {
  const { issues } = refused({
    toml: "[smtp]\nsize_max = '1 potato'\n[queue]\nretry = ['1m', 'soon', 3]\nlifetime = 5\n",
    env: { SLIMTA_QUEUE_LOG__FORMAT: "xml" },
    set: ["admin.listen=0.0.0.0:8425"],
  });
  expect(issues.map(({ path, found, origin }) => [path, found, formatOrigin(origin)])).toEqual([
    ["smtp.size_max", '"1 potato"', FILE],
    ["queue.retry[1]", '"soon"', FILE],
    ["queue.retry[2]", "3", FILE],
    ["queue.lifetime", "5", FILE],
    ["log.format", '"xml"', "$SLIMTA_QUEUE_LOG__FORMAT"],
    ["admin.listen", undefined, "--set"],
  ]);
  expect(issues[0]?.expected).toStartWith("a size such as 512KiB or 25MiB");
});
