import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { LOOK_MS } from "../../src/storage/postgres/news.ts";
import { OUTCOME_MS_MAX } from "../../src/storage/postgres/transaction.ts";
import { hastyWorld } from "../contract/worlds.ts";
import { describeWithPeers } from "../support/peers.ts";
import { type Postgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { collect, envelope, idOf } from "./fixtures.ts";
import { freshSchema, type Node, openNode } from "./postgres-fixture.ts";

/** Long waits of the engine are this much shorter here. */
const HASTE = 10;

describeWithPeers(["postgres"], "a PostgreSQL that fails", () => {
  let server: Postgres;
  beforeAll(async () => {
    server = await startPostgres({ max_connections: "16", superuser_reserved_connections: "3" });
    await server.query(
      "CREATE ROLE plain LOGIN PASSWORD 'plain'; GRANT ALL ON DATABASE queue TO plain",
    );
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const open = async (world = hastyWorld(HASTE)): Promise<Node> => {
    const login = { user: "plain", password: "plain" };
    const url = server.url(`?schema=${freshSchema()}&connections=3`, login);
    return await openNode(url, world);
  };
  const stored = async ({ storage }: Node) =>
    new Set((await collect(storage.load())).map(({ id }) => id));
  const recovered = (node: Node) =>
    until("it works again", async () => {
      if (node.storage.refusal() !== undefined) return false;
      return await node.storage.probe().then(
        () => true,
        () => false,
      );
    });

  /** Writes with these ids until told to stop; says which were acknowledged and which refused. */
  function underLoad({ storage }: Node, sessions: number) {
    const accepted = new Set<string>();
    const refused = new Set<string>();
    /** Refused when nobody had learned in time what became of the commit: these may be stored. */
    const unsure = new Set<string>();
    let next = 0;
    let isOver = false;
    const session = async (): Promise<void> => {
      while (!isOver) {
        next += 1;
        const id = idOf(next);
        const since = performance.now();
        const written = storage.write([envelope()], 1, { ids: [id], fresh: true });
        await written.then(
          () => accepted.add(id),
          (error: unknown) => {
            expect(error).toBeInstanceOf(QueueError);
            expect((error as QueueError).reply?.code ?? 451).toBe(451);
            const isUnsure = performance.now() - since >= OUTCOME_MS_MAX / HASTE;
            (isUnsure ? unsure : refused).add(id);
            return Bun.sleep(5);
          },
        );
      }
    };
    const over = Promise.all(Array.from({ length: sessions }, session));
    return {
      accepted,
      refused,
      unsure,
      async stop() {
        isOver = true;
        await over;
      },
    };
  }

  test("crashes under load: what was acknowledged is there, what was refused is not", async () => {
    await using node = await open();
    const load = underLoad(node, 20);
    for (let crashes = 1; crashes <= 2; crashes += 1) {
      await until("mail flows", () => load.accepted.size > crashes * 200);
      await server.crash();
      await until("mail is refused", () => load.refused.size > 0);
      expect(node.storage.refusal()).toContain("the database cannot be used");
      await server.start();
      const before = load.accepted.size;
      await until("mail flows again", () => load.accepted.size > before + 100);
    }
    await load.stop();
    const left = await stored(node);
    expect([...load.accepted].filter((id) => !left.has(id))).toEqual([]);
    expect([...load.refused].filter((id) => left.has(id))).toEqual([]);
    expect(left.size - load.accepted.size).toBeLessThanOrEqual(load.unsure.size);
    await recovered(node);
    expect(await node.storage.getInfo()).toMatchObject({ size: left.size });
  });

  test("connections that are lost under load lose nothing that was acknowledged", async () => {
    await using node = await open();
    const load = underLoad(node, 8);
    for (let times = 0; times < 10; times += 1) {
      const before = load.accepted.size;
      await hangUp();
      await until("mail flows again", () => load.accepted.size > before + 5);
    }
    await load.stop();
    const left = await stored(node);
    expect([...load.accepted].filter((id) => !left.has(id))).toEqual([]);
    expect([...load.refused].filter((id) => left.has(id))).toEqual([]);
  });

  test("a commit whose answer is lost is asked after: what was stored is not refused", async () => {
    await using node = await open();
    const [settled = ""] = await node.storage.write([envelope()], 1);
    // The commit is done here and waits for a standby that does not exist: then its connection ends.
    await replicateTo("nobody");
    const written = node.storage.write([envelope()], 1, { ids: [idOf(1)] });
    await hangUpCommits();
    await written;
    const fresh = node.storage.write([envelope()], 1, { ids: [idOf(2)], fresh: true });
    await hangUpCommits();
    await fresh;
    const removed = node.storage.remove(settled);
    await hangUpCommits();
    await removed;
    await replicateTo("");
    expect(await stored(node)).toEqual(new Set([idOf(1), idOf(2)]));
  });

  test("who waits for news hears that it may have missed some", async () => {
    const { clock, random } = hastyWorld(HASTE);
    const never = () => undefined;
    const after: typeof clock.after = (ms, run) => (ms === LOOK_MS ? never : clock.after(ms, run));
    // Nobody looks for the sake of looking here: only what is heard counts.
    await using node = await open({ random, clock: { ...clock, after } });
    const stop = new AbortController();
    await server.crash();
    await server.start();
    expect(await node.storage.wait(stop.signal)).toEqual([]);
    await recovered(node);
  });

  test("while it is away nothing is written past the log, and news come again when it is back", async () => {
    const warned = spyOn(console, "warn");
    try {
      await using node = await open();
      await using other = await openNode(node.url);
      await server.crash();
      await until("it was tried again", () => node.storage.refusal() !== undefined);
      // Longer than the client of the library waits before it tries again.
      await Bun.sleep(500);
      await server.start();
      await Promise.all([recovered(node), recovered(other)]);
      const stop = new AbortController();
      await until("it is heard", async () => {
        const [id = ""] = await other.storage.write([envelope()], 1);
        const heard = (await node.storage.wait(stop.signal)) ?? [];
        return heard.some((each) => each.id === id);
      });
      expect(warned).not.toHaveBeenCalled();
    } finally {
      warned.mockRestore();
    }
  });

  test("frozen: refused within a bound, by itself again when it thaws, and nothing is stored twice", async () => {
    await using node = await open();
    await node.storage.write([envelope()], 1, { ids: [idOf(1)] });
    server.freeze();
    using _ = { [Symbol.dispose]: () => server.thaw() };
    const refused = node.storage.write([envelope()], 1, { ids: [idOf(2)] });
    await expect(refused).rejects.toMatchObject({ reply: { code: 451 } });
    await expect(node.storage.get(idOf(1))).rejects.toThrow("no answer within");
    await expect(node.storage.lease(1, 9, { holder: "me", until: 2 })).rejects.toThrow(QueueError);
    expect(node.storage.refusal()).toContain("no answer within 10 s");
    server.thaw();
    await recovered(node);
    await node.storage.write([envelope()], 1, { ids: [idOf(3)] });
    expect(await stored(node)).toEqual(new Set([idOf(1), idOf(3)]));
  });

  test("out of connections: refused with a reason, and by itself again", async () => {
    await using node = await open();
    await node.storage.write([envelope()], 1, { ids: [idOf(1)] });
    await server.query("ALTER ROLE plain CONNECTION LIMIT 0");
    await hangUp();
    await until("it is noticed", async () => {
      await node.storage.probe().catch(() => undefined);
      return node.storage.refusal()?.includes("too many connections");
    });
    const refused = node.storage.write([envelope()], 1, { ids: [idOf(2)] });
    await expect(refused).rejects.toMatchObject({ reply: { code: 451 } });
    await expect(open()).rejects.toThrow("too many connections");
    await server.query("ALTER ROLE plain CONNECTION LIMIT -1");
    await recovered(node);
    expect(await stored(node)).toEqual(new Set([idOf(1)]));
  });

  test("a store that could not be opened is not tried again by itself", async () => {
    const { clock, random } = hastyWorld(HASTE);
    const timers = new Set<() => void>();
    const after: typeof clock.after = (ms, run) => {
      const cancel = clock.after(ms, run);
      timers.add(cancel);
      return () => {
        timers.delete(cancel);
        cancel();
      };
    };
    await server.query("ALTER ROLE plain CONNECTION LIMIT 0");
    await expect(open({ random, clock: { ...clock, after } })).rejects.toThrow("too many");
    await server.query("ALTER ROLE plain CONNECTION LIMIT -1");
    expect(timers.size).toBe(0);
  });

  test("read-only after a failover: reads go on, mail is refused with a reason, and by itself again", async () => {
    await using node = await open();
    await node.storage.write([envelope()], 1, { ids: [idOf(1)] });
    await server.query("ALTER ROLE plain SET default_transaction_read_only = on");
    await hangUp();
    const refused = until("it is noticed", () =>
      node.storage.write([envelope()], 1, { ids: [idOf(2)] }).then(
        () => false,
        (error: Error) => error.message.includes("read-only") && error,
      ),
    );
    expect(await refused).toMatchObject({ reply: { code: 451 } });
    expect(node.storage.refusal()).toContain("read-only");
    expect((await node.storage.get(idOf(1))).id).toBe(idOf(1));
    await server.query("ALTER ROLE plain RESET default_transaction_read_only");
    await hangUp();
    await recovered(node);
    expect(await stored(node)).toEqual(new Set([idOf(1)]));
  });

  async function replicateTo(standby: string): Promise<void> {
    await server.query(`ALTER SYSTEM SET synchronous_standby_names = '${standby}'`);
    await server.query("SELECT pg_reload_conf()");
    await until("it is so", async () => {
      const [row] = await server.query("SHOW synchronous_standby_names");
      return row?.synchronous_standby_names === standby;
    });
  }

  async function hangUpCommits(): Promise<void> {
    await until("a commit waits for the standby", async () => {
      const ended = await server.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
      );
      return ended.length > 0;
    });
  }

  async function hangUp(): Promise<void> {
    await server.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plain'",
    );
  }
});
