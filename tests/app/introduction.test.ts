import { expect, test } from "bun:test";
import { introduction, readyLine } from "../../src/app/introduction.ts";
import { exitCodeOf, listeningOn, startError } from "../../src/app/start-error.ts";
import type { Config } from "../../src/config/config.ts";
import { loadConfig } from "../../src/config/load.ts";
import { StoreConfigError } from "../../src/storage/store-config-error.ts";

function configOf(...relays: readonly string[]): Config {
  const flags = relays.map((value) => ({ name: "--relay", path: "relay.to", value }));
  const facts = { uid: 0, home: "/root", hostname: "mail.example.org" };
  const result = loadConfig({ flags, env: {}, facts, readFile: () => undefined });
  if (result.kind !== "loaded") throw new Error(JSON.stringify(result));
  return result.config;
}

const MEMORY = { kind: "memory" } as const;
const WHERE = {
  smtp: [{ host: "::1", port: 2525 }],
  admin: [{ host: "127.0.0.1", port: 8425 }, { unix: "/run/admin.sock" }],
};

test("whoever starts it learns where everything is, and never a password", () => {
  const config = configOf("smtp://user:hunter2@relay.example:587", "smtps://other.example:465");
  const texts = [readyLine(config, WHERE), introduction(config, WHERE, "1.2.3")];
  for (const text of texts) {
    expect(text).toContain("[::1]:2525");
    expect(text).toContain("/run/admin.sock");
    expect(text).toContain(config.spool.dir);
    expect(text).toContain("goes to relay.example:587, then other.example:465");
    expect(text).not.toContain("hunter2");
    expect(text).not.toContain("port 25");
  }
  expect(texts[1]).toContain("slimta-queue 1.2.3 is ready");
  expect(texts[1]).toContain("curl http://127.0.0.1:8425");
});

test("who relays by MX is told of networks that do not let them", () => {
  expect(introduction(configOf("mx"), WHERE, "1.2.3")).toContain("many networks block port 25");
  expect(readyLine(configOf("none"), WHERE)).toContain("mail is kept and never sent");
  expect(readyLine(configOf("blackhole"), WHERE)).toContain("mail is dropped");
});

test("a queue in memory is never said to be kept", () => {
  const config = { ...configOf("none"), spool: { ...configOf().spool, url: MEMORY } };
  const text = introduction(config, { ...WHERE, smtp: [] }, "1.2.3");
  expect(text).toContain("memory:");
  expect(text).toContain("lost");
  expect(text).toContain("mail in    none");
  expect(text).not.toContain("everything that was accepted is kept");
});

test("an error of the system decides on the exit code, however deep it is", async () => {
  const cause = Object.assign(new Error("address in use"), { code: "EADDRINUSE" });
  const failed = listeningOn("127.0.0.1:25 for SMTP", () => Promise.reject(cause));
  const error: unknown = await failed.catch((thrown: unknown) => thrown);
  expect(startError(error)).toBe(
    "cannot start: cannot listen on 127.0.0.1:25 for SMTP: address in use",
  );
  expect(exitCodeOf(error)).toBe(69);
  expect(exitCodeOf(new Error("a bug"))).toBe(70);
  expect(exitCodeOf(new StoreConfigError("wrong password"))).toBe(78);
  const sick = Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_SHMSIZE" });
  expect(exitCodeOf(new Error("cannot open the spool", { cause: sick }))).toBe(74);
});
