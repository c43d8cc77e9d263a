import { describe, expect, test } from "bun:test";
import type { Event } from "../../src/observe/events.ts";
import { complaints, type ServerFacts } from "../../src/storage/redis/promises.ts";
import { StoreConfigError } from "../../src/storage/store-config-error.ts";
import { makeCertificate } from "../support/certificate.ts";
import { freePort } from "../support/free-port.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type RedisServer, startRedis, startSentinel } from "../support/redis.ts";
import { tempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";
import { bytesOf, envelope } from "./fixtures.ts";
import { openStore } from "./redis-fixture.ts";

const LATER = 60_000;
const SAFE: ServerFacts = {
  version: "7.2.4",
  role: "master",
  appends: true,
  syncs: "always",
  memoryMax: 0,
  evicts: "allkeys-lru",
};
const NOBODY = { replicas: 0, synced: 0 };

describe("what a Redis promises", () => {
  test("is enough when it syncs before it confirms and never evicts", () => {
    expect(complaints(SAFE, NOBODY)).toEqual([]);
    expect(complaints({ ...SAFE, memoryMax: 1, evicts: "noeviction" }, NOBODY)).toEqual([]);
  });

  test("is told where it is not enough", () => {
    const wrong = (facts: Partial<ServerFacts>, asked = NOBODY) =>
      complaints({ ...SAFE, ...facts }, asked).join();
    expect(wrong({ syncs: "everysec" })).toContain("appendfsync everysec");
    expect(wrong({ syncs: undefined })).toContain("+config|get");
    expect(wrong({ appends: false })).toContain("appendonly no");
    expect(wrong({ appends: undefined })).toContain("append-only");
    expect(wrong({ memoryMax: 1 })).toContain("allkeys-lru");
    expect(wrong({ role: "slave" })).toContain("replica");
    expect(wrong({ version: "6.2.7" })).toContain("7.0 is needed");
    expect(wrong({ version: "7.0.15" }, { replicas: 0, synced: 1 })).toContain("synced= needs 7.2");
  });

  test("may be made up for by replicas, or by asking for disks", () => {
    const weak = { ...SAFE, syncs: "everysec" };
    expect(complaints(weak, { replicas: 1, synced: 0 })).toEqual([]);
    expect(complaints(weak, { replicas: 0, synced: 1 })).toEqual([]);
    expect(complaints({ ...SAFE, appends: false }, { replicas: 1, synced: 0 })).toEqual([]);
    expect(complaints({ ...SAFE, appends: false }, { replicas: 0, synced: 1 })).not.toEqual([]);
  });
});

/** Why a store over this URL cannot be opened. */
async function refusalOf(url: string): Promise<Error> {
  const opened = await openStore(url, { silenceMs: 700 }).catch((error: Error) => error);
  if (opened instanceof Error) return opened;
  await opened.close();
  throw new Error(`${url} was opened`);
}

/** It stores, finds and ends a message. */
async function roundTrip(url: string): Promise<void> {
  const storage = await openStore(url);
  const now = Date.now();
  const [id = ""] = await storage.write([envelope({ text: "round" })], now);
  const leases = await storage.lease(now + 5, 1, { holder: "me", until: now + LATER });
  expect(leases.map((lease) => lease.id)).toEqual([id]);
  expect(await bytesOf((await storage.get(id)).envelope.content)).toEqual(Buffer.from("round"));
  await storage.settle(id, { recipients: [{ index: 0, status: "delivered" }] }, { holder: "me" });
  expect(await storage.getInfo()).toMatchObject({ size: 0 });
  await storage.close();
}

describeWithPeers(["redis-server"], "opening a Redis", () => {
  test("a server that may lose mail is refused, and used with a warning when that is wanted", async () => {
    await using server = await startRedis({ args: ["--appendfsync", "everysec"] });
    const error = await refusalOf(server.url());
    expect(error).toBeInstanceOf(StoreConfigError);
    expect(error.message).toContain("appendfsync everysec");
    expect(error.message).toContain("durability=warn");
    const events: Event[] = [];
    const emit = (event: Event) => events.push(event);
    const storage = await openStore(server.url("?durability=warn"), { emit });
    await storage.close();
    expect(events).toMatchObject([
      { kind: "lifecycle", what: "warning", text: expect.stringContaining("MAY LOSE MAIL") },
    ]);
  });

  test("passwords, users and rights: a clear word at the start, and never the password", async () => {
    await using server = await startRedis({
      args: ["--requirepass", "hush-word"],
      login: ["-a", "hush-word", "--no-auth-warning"],
    });
    await roundTrip(`redis://:hush-word@127.0.0.1:${server.port}`);
    for (const login of ["", ":wrong-word@", "joe:wrong-word@"]) {
      const error = await refusalOf(`redis://${login}127.0.0.1:${server.port}`);
      expect(error).toBeInstanceOf(StoreConfigError);
      expect(error.message).toMatch(/WRONGPASS|NOAUTH/u);
      expect(error.message).not.toContain("-word");
    }
    const rights = ["on", ">joes-word", "~{slimta}*", "+@all", "-@admin", "-config"];
    await server.cli("acl", "setuser", "joe", ...rights);
    const joe = `redis://joe:joes-word@127.0.0.1:${server.port}`;
    expect((await refusalOf(joe)).message).toContain("+config|get");
    await roundTrip(`${joe}?durability=warn`);
    await server.cli("acl", "setuser", "joe", "+config|get");
    await roundTrip(joe);
    await server.cli("acl", "setuser", "joe", "-zadd");
    const poor = await openStore(joe);
    await expect(poor.write([envelope()], 1)).rejects.toThrow("grant it +@all");
    expect(poor.refusal()).toContain("may not do what a queue needs");
    await server.cli("acl", "setuser", "joe", "+zadd");
    await until("it may again", () => poor.refusal() === undefined);
    await poor.write([envelope()], 1);
    await poor.close();
    expect((await refusalOf(`${joe}?prefix=other`)).message).toContain("NOPERM");
    expect((await refusalOf(`${joe}/99`)).message).toContain("out of range");
  });

  test("synced= is refused by a server without WAITAOF, and asked of one that has it", async () => {
    await using server = await startRedis();
    const version = Number.parseFloat(
      /redis_version:(\S+)/u.exec(await server.cli("info", "server"))?.[1] ?? "",
    );
    if (version < 7.2) {
      const error = await refusalOf(server.url("?synced=1"));
      expect(error).toBeInstanceOf(StoreConfigError);
      expect(error.message).toContain("synced= needs 7.2");
    } else await roundTrip(server.url("?synced=1"));
  });

  test("a server that is not there is a matter of time", async () => {
    const error = await refusalOf(`redis://127.0.0.1:${await freePort()}`);
    expect(error).not.toBeInstanceOf(StoreConfigError);
    expect(error.message).toContain("ECONNREFUSED");
  });

  test("a read-only replica is refused; with replicas= a message is on them before it counts", async () => {
    await using primary = await startRedis();
    const url = primary.url("?replicas=1");
    const lonely = await openStore(url);
    const refused = lonely.write([envelope()], Date.now(), { fresh: true });
    await expect(refused).rejects.toThrow("only 0 of 1 replicas");
    const size = async () => (await lonely.getInfo()).size;
    await until("it is withdrawn", async () => (await size()) === 0);
    await using replica = await startRedis({
      args: ["--replicaof", "127.0.0.1", String(primary.port)],
    });
    await replicates(replica);
    const ids = await lonely.write([envelope()], Date.now());
    expect(await replica.cli("exists", `{slimta}:m:${ids[0]}`)).toBe("1");
    await lonely.close();
    expect((await refusalOf(replica.url("?durability=warn"))).message).toContain("replica");
  });

  test("Sentinel: the next primary goes on, and has all that was acknowledged", async () => {
    await using primary = await startRedis();
    const args = ["--replicaof", "127.0.0.1", String(primary.port)];
    await using replica = await startRedis({ args });
    await replicates(replica);
    await using sentinel = await startSentinel("mail", primary.port);
    await until("Sentinel knows the replica", () => sentinel.knowsReplica());
    const options = { silenceMs: 3000 };
    const storage = await openStore(
      `redis+sentinel://127.0.0.1:${sentinel.port}/mail?replicas=1`,
      options,
    );
    const acknowledged: string[] = [];
    let isOver = false;
    const writers = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const ids = await storage.write([envelope()], Date.now()).catch(() => []);
        acknowledged.push(...ids);
        if (ids.length === 0) await Bun.sleep(5);
      }
    });
    await until("some are stored", () => acknowledged.length > 100);
    await primary.crash();
    isOver = true;
    await Promise.all(writers);
    // Nobody is left to confirm: only that the mail is there again can be seen.
    const listed = async () =>
      (await storage.list({ limit: 100_000 }).catch(() => [])).map(({ id }) => id);
    await until("the next primary", async () => (await listed()).length > 0, 20_000);
    const kept = new Set(await listed());
    expect(acknowledged.filter((id) => !kept.has(id))).toEqual([]);
    expect(await replica.cli("role")).toStartWith("master");
    await storage.close();
  }, 30_000);

  test("Sentinel's own password is in a file, and never the server's", async () => {
    await using dir = tempDir("sentinel-login");
    await using primary = await startRedis({
      args: ["--requirepass", "hush-word"],
      login: ["-a", "hush-word", "--no-auth-warning"],
    });
    await using sentinel = await startSentinel("mail", primary.port, [
      "sentinel auth-pass mail hush-word",
      "requirepass gate-word",
      "user joe on >joes-word +@all",
    ]);
    const url = `redis+sentinel://:hush-word@127.0.0.1:${sentinel.port}/mail`;
    const file = dir.join("login");
    for (const login of ["gate-word\n", "joe:joes-word", ":gate-word"]) {
      await Bun.write(file, login);
      await roundTrip(`${url}?sentinel_login_file=${file}`);
    }
    await Bun.write(file, "wrong-word");
    for (const wrong of [url, `${url}?sentinel_login_file=${file}`]) {
      const error = await refusalOf(wrong);
      expect(error).toBeInstanceOf(StoreConfigError);
      expect(error.message).toMatch(/NOAUTH|WRONGPASS/u);
      expect(error.message).not.toContain("-word");
    }
  });

  test("a cluster keeps a queue in one slot", async () => {
    await using server = await startRedis({
      args: ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"],
    });
    const url = `redis+cluster://127.0.0.1:${server.port}`;
    expect((await refusalOf(url)).message).toContain("cannot use");
    await server.cli("cluster", "addslotsrange", "0", "16383");
    await until("the cluster", async () =>
      (await server.cli("cluster", "info")).includes("state:ok"),
    );
    await roundTrip(url);
    const storage = await openStore(url);
    const body = await storage.openBody();
    await body.write(new Uint8Array(1_000_000).fill(7));
    const content = { prefix: new Uint8Array(0), body: await body.end() };
    const [id = ""] = await storage.write([envelope({ content })], Date.now());
    expect((await bytesOf((await storage.get(id)).envelope.content)).length).toBe(1_000_000);
    expect(await storage.flush()).toBe(1);
    await storage.close();
    expect((await refusalOf(`${url}?replicas=1`)).message).toContain("min-replicas-to-write");
  });
});

describeWithPeers(["redis-server", "openssl"], "Redis over TLS", () => {
  test("with the authority that is named, and with no other", async () => {
    await using dir = tempDir("redis-tls");
    const { key, cert } = await makeCertificate("localhost");
    const [certFile, keyFile] = [dir.join("cert.pem"), dir.join("key.pem")];
    await Promise.all([Bun.write(certFile, cert), Bun.write(keyFile, key)]);
    const tlsPort = await freePort();
    const files = ["--tls-cert-file", certFile, "--tls-key-file", keyFile];
    await using _server = await startRedis({
      args: ["--tls-port", String(tlsPort), ...files, "--tls-auth-clients", "no"],
    });
    await roundTrip(`rediss://localhost:${tlsPort}?ca_file=${certFile}`);
    expect(await refusalOf(`rediss://localhost:${tlsPort}`)).toBeInstanceOf(StoreConfigError);
  });
});

async function replicates(replica: RedisServer): Promise<void> {
  await until("the replica", async () =>
    (await replica.cli("info", "replication")).includes("master_link_status:up"),
  );
}
