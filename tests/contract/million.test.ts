/**
 * A queue with a million messages, or 20,000 in the quick form, in every engine that keeps its queue outside the process:
 * `SLIMTA_QUEUE_TEST_MILLION=yes bun test --timeout 3600000 tests/contract/million.test.ts`.
 */
import { expect, test } from "bun:test";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { openSpool } from "../storage/disk-fixture.ts";
import { envelope } from "../storage/fixtures.ts";
import { describeWithPeers } from "../support/peers.ts";
import { startPostgres } from "../support/postgres.ts";
import { startRedis } from "../support/redis.ts";
import { newQueue, openUrl } from "./shared-store.ts";

const COUNT = Bun.env.SLIMTA_QUEUE_TEST_MILLION === "yes" ? 1_000_000 : 20_000;
const BATCH = 200;
const DOMAINS = 2000;
const LEASED = 500;
const PAGE = 100;
const MIB = 1024 * 1024;

/** However deep the queue; several times what an idle machine needs. */
const STEP_MS_MAX = 3000;
/** What this process may grow by: not by the queue. */
const GROWTH_MIB_MAX = 300;
const TIMEOUT_MS = 60_000 + COUNT * 2;

test(
  `disk: ${COUNT} messages`,
  async () => {
    await using spool = await openSpool();
    await fillAndAsk("disk", spool.storage, spool.world.clock.now());
  },
  TIMEOUT_MS,
);

describeWithPeers(["redis-server"], "Redis, deep", () => {
  test(
    `redis: ${COUNT} messages`,
    async () => {
      await using server = await startRedis();
      const storage = await openUrl(server.url(`?prefix=${newQueue()}`));
      await fillAndAsk("redis", storage, Date.now());
      await storage.close();
    },
    TIMEOUT_MS,
  );
});

describeWithPeers(["postgres"], "PostgreSQL, deep", () => {
  test(
    `postgres: ${COUNT} messages`,
    async () => {
      await using server = await startPostgres({ fsync: "off" }, "trust");
      const storage = await openUrl(server.url(`?schema=${newQueue()}&durability=warn`));
      await fillAndAsk("postgres", storage, Date.now());
      await storage.close();
    },
    TIMEOUT_MS,
  );
});

async function fillAndAsk(name: string, storage: QueueStorage, now: number): Promise<void> {
  const took: string[] = [];
  const timed = async <T>(what: string, work: () => Promise<T>, most = STEP_MS_MAX): Promise<T> => {
    const since = performance.now();
    const result = await work();
    const ms = performance.now() - since;
    took.push(`${what} ${Math.round(ms)} ms`);
    expect(ms, `${name}: ${what}`).toBeLessThan(most);
    return result;
  };
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  await timed("write", () => fill(storage, now), TIMEOUT_MS);
  expect(await timed("getInfo", () => storage.getInfo())).toMatchObject({
    size: COUNT,
    states: { incoming: COUNT, active: 0 },
  });
  await timed("load", () => everything(storage), TIMEOUT_MS);
  const first = await timed("first page", () => storage.list({ limit: PAGE }));
  expect(first).toHaveLength(PAGE);
  const after = first.at(-1)?.id ?? "";
  expect(await timed("next page", () => storage.list({ limit: PAGE, after }))).toHaveLength(PAGE);
  const domain = "d7.example";
  const ofDomain = await timed("page of a domain", () => storage.list({ limit: 5, domain }));
  expect(ofDomain).toHaveLength(5);
  expect(await timed("nextDue", () => storage.nextDue())).toBe(now + 1);
  const lease = (at: number) => {
    const options = { holder: "me", until: now + 3_600_000 };
    return storage.lease(at, LEASED, options);
  };
  expect(await timed("lease of what is due", () => lease(now + DOMAINS / 2))).toHaveLength(LEASED);
  expect(await timed("flush", () => storage.flush())).toBe(COUNT - LEASED);
  const flushed = await timed("lease after it", () => lease(now - 1));
  expect(flushed).toHaveLength(LEASED);
  await timed("settle of those", () => settleAll(storage, flushed), 10 * STEP_MS_MAX);
  expect(await timed("getInfo", () => storage.getInfo())).toMatchObject({ size: COUNT - LEASED });
  const grown = (process.memoryUsage.rss() - before) / MIB;
  expect(grown).toBeLessThan(GROWTH_MIB_MAX);
  console.info(`${name}, ${COUNT} messages: ${took.join(", ")}; grown by ${Math.round(grown)} MiB`);
}

/** Batch after batch is due a millisecond later, over and over. */
async function fill(storage: QueueStorage, now: number): Promise<void> {
  const lanes = Array.from({ length: 4 }, async (_, lane) => {
    for (let batch = lane; batch < COUNT / BATCH; batch += 4) {
      const due = now + 1 + (batch % (DOMAINS / 2));
      const made = Array.from({ length: BATCH }, (__, index) =>
        envelope({
          to: [`r@d${(batch * BATCH + index) % DOMAINS}.example`],
          text: "a: b\r\n\r\nc\r\n",
        }),
      );
      await storage.write(made, due);
    }
  });
  await Promise.all(lanes);
}

/** Names everything once, and keeps nothing of it. */
async function everything(storage: QueueStorage): Promise<void> {
  let count = 0;
  let last = "";
  let isSorted = true;
  for await (const { id } of storage.load()) {
    count += 1;
    isSorted &&= id > last;
    last = id;
  }
  expect(count).toBe(COUNT);
  // All of these engines go by the order of ids, so that nothing can come twice.
  expect(isSorted).toBe(true);
}

async function settleAll(
  storage: QueueStorage,
  leases: readonly { readonly id: string }[],
): Promise<void> {
  const recipients = [{ index: 0, status: "delivered" as const }];
  await Promise.all(leases.map(({ id }) => storage.settle(id, { recipients }, { holder: "me" })));
}
