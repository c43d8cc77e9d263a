import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { SQL } from "bun";
import { realWorld } from "../../src/lib/world.ts";
import { bodyContent } from "../../src/mail/content.ts";
import { QueueError } from "../../src/mail/queue-error.ts";
import { openInserter } from "../../src/storage/postgres/insert.ts";
import { scheduleStatements } from "../../src/storage/postgres/schedule-statements.ts";
import { tablesOf } from "../../src/storage/postgres/schema.ts";
import { storeTime } from "../../src/storage/postgres/store-time.ts";
import { CorruptError, type QueueStorage } from "../../src/storage/storage.ts";
import { describeWithPeers } from "../support/peers.ts";
import { PASSWORD, type Postgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { bytesOf, collect, envelope, idOf } from "./fixtures.ts";
import { freshSchema, type Node, openNode } from "./postgres-fixture.ts";

describeWithPeers(["postgres", "openssl"], "nodes on one PostgreSQL", () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const fresh = () => {
    const schema = freshSchema();
    return { schema, url: server.url(`?schema=${schema}&connections=3`) };
  };
  const ids = async (storage: QueueStorage) =>
    (await collect(storage.load())).map(({ id }) => id).sort();

  test("nodes that start at the same time make the tables once, and see one queue", async () => {
    const { url, schema } = fresh();
    const nodes = await Promise.all([openNode(url), openNode(url), openNode(url)]);
    const written = await Promise.all(
      nodes.map(({ storage }) => storage.write([envelope()], Date.now())),
    );
    for (const { storage } of nodes) expect(await ids(storage)).toEqual(written.flat().sort());
    await using other = await openNode(fresh().url);
    expect(await ids(other.storage)).toEqual([]);
    await server.query(`UPDATE "${schema}".meta SET value = 9 WHERE key = 'format'`);
    await expect(openNode(url)).rejects.toThrow("format 9");
    for (const node of nodes) await node[Symbol.asyncDispose]();
  });

  test("an id that another node's message has is refused, not taken for stored", async () => {
    const { url } = fresh();
    await using node = await openNode(url);
    await node.storage.write([envelope({ sender: "first@x" })], 1, { ids: [idOf(1)], fresh: true });
    const both = [envelope(), envelope({ sender: "second@x" })];
    const clash = node.storage.write(both, 1, { ids: [idOf(2), idOf(1)], fresh: true });
    await expect(clash).rejects.toThrow(QueueError);
    expect(await ids(node.storage)).toEqual([idOf(1)]);
  });

  test("mail that comes to the database when nobody waits for it any more is not stored", async () => {
    const { url, schema } = fresh();
    await using node = await openNode(url);
    const { insertFresh } = openInserter(
      tablesOf(schema),
      storeTime(realWorld.clock, false),
      new WeakMap(),
    );
    const insert = async (number: number, deadline: number): Promise<boolean> => {
      const message = { id: idOf(number), envelope: envelope(), due: 1 };
      await using sql = new SQL({ url: server.url(), max: 1 });
      using connection = await sql.reserve();
      return await insertFresh(connection, [message], { token: `token ${number}`, deadline });
    };
    expect(await insert(1, Date.now() - 1)).toBe(false);
    expect(await insert(2, Date.now() + 60_000)).toBe(true);
    expect(await ids(node.storage)).toEqual([idOf(2)]);
    expect(await server.query(`SELECT token FROM "${schema}".outcome`)).toEqual([
      { token: "token 2" },
    ]);
  });

  const unstorable = [
    ["a NUL", envelope({ sender: "nul\0@x" })],
    [
      "a domain too long for an index",
      envelope({ to: [`x@${randomBytes(4000).toString("hex")}`] }),
    ],
  ] as const;
  for (const [what, bad] of unstorable) {
    test(`what the database cannot store fails alone: ${what}`, async () => {
      const { url } = fresh();
      await using node = await openNode(url);
      const results = await Promise.allSettled(
        Array.from({ length: 30 }, (_, index) =>
          node.storage.write([index === 20 ? bad : envelope()], 1),
        ),
      );
      const failed = results.filter(({ status }) => status === "rejected");
      expect(failed).toMatchObject([{ reason: { reply: { code: 451 } } }]);
      expect(await ids(node.storage)).toHaveLength(29);
      expect(node.storage.refusal()).toBeUndefined();
    });
  }

  test("mail of other domains is found by its domain, however much of it is for one (P9)", async () => {
    const { url, schema } = fresh();
    await using node = await openNode(url);
    const to = (domain: (index: number) => string, length: number) =>
      Array.from({ length }, (_, index) => envelope({ to: [`x@${domain(index)}`] }));
    await node.storage.write(
      to(() => "dead.example", 2000),
      1,
    );
    // From here on the planner believes that there is no other domain.
    await server.query(`ANALYZE "${schema}".message`);
    await node.storage.write(
      to((index) => `d${index}.example`, 100),
      1,
    );
    const { ofDomains } = scheduleStatements(tablesOf(schema), storeTime(realWorld.clock, false));
    const plan = await server.query(`SET enable_seqscan = off;
      SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan;
      PREPARE look (float8, text[], bigint, boolean) AS ${ofDomains};
      EXPLAIN EXECUTE look (2, ARRAY['d50.example', 'd51.example'], 32, false)`);
    const text = plan.map((row) => Object.values(row).join()).join("\n");
    expect(text).toContain("message_by_domain");
    expect(text).not.toContain("message_by_due");
    const skip = (domain: string) => domain === "dead.example";
    const options = { holder: "me", until: Date.now() + 60_000, skip };
    expect(await node.storage.lease(2, 500, options)).toHaveLength(64);
  });

  test("news of mail that nobody has leased reaches the others, and only them", async () => {
    const { url } = fresh();
    await using writer = await openNode(url);
    await using reader = await openNode(url);
    const stop = new AbortController();
    const own = writer.storage.wait(stop.signal);
    let heard = reader.storage.wait(stop.signal);
    const told = { holder: "writer", until: Date.now() + 60_000 };
    const [leased = ""] = await writer.storage.write([envelope()], 5, { lease: told });
    const [id = ""] = await writer.storage.write([envelope()], 6);
    expect(await heard).toEqual([{ timestamp: 6, id }]);
    heard = reader.storage.wait(stop.signal);
    await writer.storage.release([leased], "writer");
    expect(await heard).toEqual([{ timestamp: 5, id: leased }]);
    heard = reader.storage.wait(stop.signal);
    await writer.storage.flush();
    expect(await heard).toEqual([]);
    heard = reader.storage.wait(stop.signal);
    await writer.storage.setTimestamp(id, 7);
    expect(await heard).toEqual([{ timestamp: 7, id }]);
    stop.abort();
    expect(await own).toBeNull();
    await reader.storage.close();
    expect(await reader.storage.wait(new AbortController().signal)).toBeNull();
  });

  test("a damaged record is moved aside and counted, and the rest goes on (P6)", async () => {
    const { url, schema } = fresh();
    await using node = await openNode(url);
    const { storage, events } = node;
    const [bad = "", bare = "", good = ""] = await storage.write(
      [envelope({ text: "one" }), envelope({ text: "two" }), envelope({ text: "three" })],
      1,
    );
    await server.query(`UPDATE "${schema}".record SET bytes = 'onE' WHERE id = '${bad}';
      DELETE FROM "${schema}".record WHERE id = '${bare}'`);
    await expect(storage.get(bad)).rejects.toThrow(CorruptError);
    await expect(storage.get(bare)).rejects.toThrow("missing");
    expect(await bytesOf((await storage.get(good)).envelope.content)).toEqual(Buffer.from("three"));
    expect(await storage.getInfo()).toMatchObject({ size: 1, bytes: 5, corrupt: 2 });
    expect(events).toMatchObject([
      { kind: "corrupt", subject: bad, reason: "its record fails its checksum" },
      { kind: "corrupt", subject: bare, reason: "its record is missing" },
    ]);
    const kept = await server.query(`SELECT id, bytes FROM "${schema}".corrupt ORDER BY id`);
    expect(kept.map(({ id }) => id)).toEqual([bad, bare]);
  });

  test("a large body that is damaged stops short of its end, and is moved aside", async () => {
    const { url, schema } = fresh();
    await using node = await openNode(url);
    const id = await writeLarge(node, 1024 * 1024);
    await server.query(`UPDATE "${schema}".chunk SET bytes = set_byte(bytes, 9, 1) WHERE part = 3`);
    const { content } = (await node.storage.get(id)).envelope;
    await expect(bytesOf(content)).rejects.toThrow("part 3");
    await until("it is moved aside", async () => (await node.storage.getInfo()).corrupt === 1);
    expect(await ids(node.storage)).toEqual([]);
  });

  test("what crashed uploads have left is swept, what a message has or somebody writes is not", async () => {
    const { url, schema } = fresh();
    await using node = await openNode(url);
    const id = await writeLarge(node, 300_000);
    const crashed = await node.storage.openBody();
    await crashed.write(new Uint8Array(300_000));
    await server.query(`UPDATE "${schema}".body SET touched_at = now() - interval '1 day'`);
    const fresher = await node.storage.openBody();
    await fresher.write(new Uint8Array(300_000));
    await node.storage.sweepBodies();
    const [bodies] = await server.query(`SELECT count(*)::int AS left FROM "${schema}".body`);
    expect(bodies).toEqual({ left: 2 });
    expect((await bytesOf((await node.storage.get(id)).envelope.content)).length).toBe(300_000);
    await node.storage.remove(id);
    await fresher.discard();
    await until("the space is given back", async () => {
      const [chunks] = await server.query(`SELECT count(*)::int AS left FROM "${schema}".chunk`);
      return chunks?.left === 0;
    });
  });

  test("counts stay right when they are put together while mail comes and goes", async () => {
    const { url } = fresh();
    await using node = await openNode(url);
    await using other = await openNode(url);
    const work = Array.from({ length: 60 }, async (_, index) => {
      const [id = ""] = await node.storage.write([envelope({ text: "x".repeat(index) })], 1);
      if (index % 3 === 0) await other.storage.remove(id);
      if (index % 3 === 1) await other.storage.setHeld(id, true);
      if (index % 5 === 0) await Promise.all([node.storage.tidy(), other.storage.tidy()]);
    });
    await Promise.all(work);
    const all = await node.storage.list({ limit: 1000 });
    expect(await other.storage.getInfo()).toMatchObject({
      size: 40,
      states: { hold: 20, incoming: 20 },
      bytes: all.reduce((sum, { size }) => sum + size, 0),
    });
  });

  const refusals: readonly (readonly [string, () => string, RegExp])[] = [
    [
      "a wrong password",
      () => server.url("", { password: "no" }),
      /password authentication failed/u,
    ],
    ["an unknown user", () => server.url("", { user: "nobody" }), /authentication failed/u],
    [
      "a database that is not there",
      () => server.url().replace("/queue", "/none"),
      /"none" does not/u,
    ],
    ["TLS where there is none", () => server.url("?sslmode=require"), /SSL/u],
    ["a schema with a quote", () => server.url("?schema=a%22b"), /schema "a"b"/u],
    ["an unknown option", () => server.url("?shema=a"), /\?shema=/u],
    ["no rights", () => server.url("?schema=mine", { user: "poor" }), /permission denied/u],
    [
      "a server that answers too soon",
      () => server.url("", { user: "hasty" }),
      /synchronous_commit is off/u,
    ],
    ["a server that takes nothing", () => server.url("", { user: "standby" }), /read-only/u],
  ];
  for (const [what, url, reason] of refusals) {
    test(`does not start with ${what}, and says so in one line without a secret`, async () => {
      await server.query(`DO $$ BEGIN
        CREATE ROLE poor LOGIN PASSWORD '${PASSWORD}';
        CREATE ROLE hasty LOGIN SUPERUSER PASSWORD '${PASSWORD}';
        ALTER ROLE hasty SET synchronous_commit = off;
        CREATE ROLE standby LOGIN SUPERUSER PASSWORD '${PASSWORD}';
        ALTER ROLE standby SET default_transaction_read_only = on;
        EXCEPTION WHEN duplicate_object THEN NULL; END $$`);
      const error: unknown = await openNode(url()).catch((cause: unknown) => cause);
      expect(error).toMatchObject({ name: "StoreConfigError" });
      const { message } = error as Error;
      expect(message).toMatch(reason);
      expect(message).not.toContain(PASSWORD.slice(0, 8));
      expect(message).not.toContain(encodeURIComponent(PASSWORD).slice(0, 8));
      expect(message).not.toContain("\n");
    });
  }

  test("a server that answers too soon is used, with a warning, by who asks for that", async () => {
    const schema = freshSchema();
    const url = server.url(`?schema=${schema}&durability=warn`, { user: "hasty" });
    await using node = await openNode(url);
    expect(node.events).toMatchObject([{ kind: "lifecycle", what: "warning" }]);
    await node.storage.probe();
  });

  test("TLS is used where the server has it, and checked by who asks for that", async () => {
    const certificate = await server.requireTls();
    const attempt = async (search: string): Promise<string> => {
      try {
        await using node = await openNode(server.url(`?schema=tls${search}`));
        await node.storage.probe();
        return "works";
      } catch (error) {
        expect(error).toMatchObject({ name: "StoreConfigError" });
        return (error as Error).message;
      }
    };
    expect(await attempt("")).toBe("works");
    expect(await attempt("&sslmode=disable")).toContain("no encryption");
    expect(await attempt("&sslmode=verify-full")).toContain("self signed certificate");
    expect(await attempt(`&sslrootcert=${certificate}`)).toBe("works");
  });
});

async function writeLarge({ storage }: Node, size: number): Promise<string> {
  const sink = await storage.openBody();
  await sink.write(new Uint8Array(size).fill(7));
  const content = bodyContent(await sink.end());
  const [id = ""] = await storage.write([envelope({ content })], 1);
  return id;
}
