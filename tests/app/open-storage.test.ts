import { expect, test } from "bun:test";
import { fateText, openStorage, storeName } from "../../src/app/open-storage.ts";
import { exitCodeOf } from "../../src/app/start-error.ts";
import { loadConfig } from "../../src/config/load.ts";
import { exit } from "../../src/lib/sysexits.ts";
import { envelope, testWorld } from "../storage/fixtures.ts";
import { freePort } from "../support/free-port.ts";
import { openRecorder } from "../support/recorder.ts";
import { tempDir } from "../support/temp-dir.ts";

function configOf(...set: readonly string[]) {
  const flags = set.map((text) => {
    const [path = "", ...value] = text.split("=");
    return { name: "--set", path, value: value.join("=") };
  });
  const facts = { uid: 0, home: "/root", hostname: "mail.example.org" };
  const result = loadConfig({ flags, env: {}, facts, readFile: () => undefined });
  if (result.kind !== "loaded") throw new Error(JSON.stringify(result));
  return result.config;
}

test("a directory is a spool that outlives its process, without a warning", async () => {
  await using dir = tempDir("open");
  const { emit, all } = openRecorder();
  const parts = { world: testWorld(), emit };
  const free = ["spool.free_min=0", "spool.free_min_percent=0%"];
  const config = configOf(`spool.dir=${dir.join("spool")}`, ...free);
  const first = await openStorage(config, parts);
  const ids = await first.write([envelope()], 1);
  await first.close();
  const second = await openStorage(config, parts);
  expect((await second.list({ limit: 9 })).map(({ id }) => id)).toEqual([...ids]);
  await second.close();
  expect(all("lifecycle")).toEqual([]);
});

test("memory: works, and warns loudly", async () => {
  const { emit, all } = openRecorder();
  const storage = await openStorage(configOf("spool.url=memory:"), { world: testWorld(), emit });
  await storage.write([envelope()], 1);
  expect(await storage.getInfo()).toMatchObject({ size: 1 });
  await storage.close();
  expect(all("lifecycle")).toMatchObject([
    { what: "warning", text: expect.stringContaining("IS LOST") },
  ]);
});

test("a database is called by its URL without the login, and keeps what was accepted", async () => {
  const config = configOf("spool.url=postgres://me:word@127.0.0.1:1/queue?schema=a");
  expect(storeName(config)).toBe("postgres://127.0.0.1:1/queue?schema=a");
  expect(fateText(config)).toContain("is kept");
  const { emit } = openRecorder();
  const opening = openStorage(config, { world: testWorld(), emit });
  await expect(opening).rejects.toThrow(/^postgres:\/\/127\.0\.0\.1:1\/queue\?schema=a: Failed/u);
});

test("of a database's URL only what is harmless is shown, and one that cannot be read ends the start", async () => {
  const options = "sslrootcert=/home/ann/word.pem&socket=/run/pg&schema=a";
  const config = configOf(`spool.url=postgresql://me:wo%2frd@db.test/queue?${options}`);
  expect(storeName(config)).toBe("postgres://db.test/queue?schema=a&socket=/run/pg");
  for (const url of ["postgres://me:wo%zzrd@db.test/queue", "postgres://db.test/que%ue"]) {
    const broken = configOf(`spool.url=${url}`);
    const { emit } = openRecorder();
    const opening = openStorage(broken, { world: testWorld(), emit });
    await expect(opening).rejects.toThrow(/write it as %25/u);
    expect(exitCodeOf(await opening.catch((error: unknown) => error))).toBe(exit.config);
    expect(storeName(broken)).not.toContain("word");
  }
});

test("servers that are not there end the start alike, whatever the engine", async () => {
  const port = await freePort();
  for (const url of [`redis://127.0.0.1:${port}`, `postgres://127.0.0.1:${port}/queue`]) {
    const { emit } = openRecorder();
    const opening = openStorage(configOf(`spool.url=${url}`), { world: testWorld(), emit });
    expect(exitCodeOf(await opening.catch((error: unknown) => error))).toBe(exit.unavailable);
  }
});
