import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { collect, envelope, idOf, infoOf } from "../storage/fixtures.ts";
import { operations, perform } from "../storage/operations.ts";
import { type Bench, LATER, type OpenStorage, openBench } from "./bench.ts";

/** What every engine promises of lists and counts. */
export function listContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);

  describe(`${name}: list, load and getInfo`, () => {
    test("lists in pages, in the order of ids, with the facts of each", async () => {
      await using at = await opened();
      const ids = [3, 1, 4, 0, 2].map(idOf);
      await at.storage.write(
        ids.map(() => envelope({ to: ["A@Up.example", "b@up.example"] })),
        9,
        { ids },
      );
      const pages: string[][] = [];
      let after: string | undefined;
      do {
        const page = await at.storage.list({ limit: 2, ...(after !== undefined && { after }) });
        pages.push(page.map(({ id }) => id));
        after = page.at(-1)?.id;
      } while (after !== undefined);
      expect(pages).toEqual([[idOf(0), idOf(1)], [idOf(2), idOf(3)], [idOf(4)], []]);
      expect((await at.storage.list({ limit: 1 }))[0]).toEqual({
        id: idOf(0),
        state: "incoming",
        sender: "sender@example.org",
        size: 18,
        receivedAt: 1_800_000_000_000,
        due: 9,
        attempts: 0,
        domain: "up.example",
        recipientCount: 2,
      });
    });

    test("filters by state, domain and sender, together and in pages", async () => {
      await using at = await opened();
      const ids = Array.from({ length: 12 }, (_, index) => idOf(index));
      const made = ids.map((_, index) =>
        envelope({
          to: [`x@${index % 2 ? "odd" : "even"}.example`],
          sender: index % 3 ? "Some@One" : "",
        }),
      );
      await at.storage.write(made, at.now() + LATER, { ids });
      await at.storage.setHeld(idOf(1), true);
      await at.storage.incrementAttempts(idOf(2));
      await at.storage.setTimestamp(idOf(3), at.now());
      await at.lease();
      const listed = async (query: object) =>
        (await at.storage.list({ limit: 100, ...query })).map(({ id }) => Number(id.slice(9)));
      expect(await listed({ state: "hold" })).toEqual([1]);
      expect(await listed({ state: "deferred" })).toEqual([2]);
      expect(await listed({ state: "active" })).toEqual([3]);
      expect(await listed({ state: "incoming" })).toEqual([0, 4, 5, 6, 7, 8, 9, 10, 11]);
      expect(await listed({ domain: "ODD.example" })).toEqual([1, 3, 5, 7, 9, 11]);
      expect(await listed({ sender: "" })).toEqual([0, 3, 6, 9]);
      expect(await listed({ sender: "some@one", domain: "even.example", after: idOf(4) })).toEqual([
        8, 10,
      ]);
      expect(await listed({ sender: "some@one", domain: "even.example", limit: 2 })).toEqual([
        2, 4,
      ]);
    });

    test("load names everything stored with its time", async () => {
      await using at = await opened();
      const made = Array.from({ length: 1203 }, () => envelope());
      const ids = await at.storage.write(made, 5);
      await at.storage.setHeld(ids[7] ?? "", true);
      const all = await collect(at.storage.load());
      expect(all.map(({ id }) => id).sort()).toEqual([...ids]);
      expect(all.every(({ timestamp }) => timestamp === 5)).toBe(true);
    });

    test("the oldest is the first in the order of ids", async () => {
      await using at = await opened();
      await at.storage.write([envelope({ receivedAt: 20 })], 1, { ids: [idOf(2)] });
      await at.storage.write([envelope({ receivedAt: 10 })], 1, { ids: [idOf(1)] });
      expect((await at.storage.getInfo()).oldestAt).toBe(10);
      await at.storage.remove(idOf(1));
      expect((await at.storage.getInfo()).oldestAt).toBe(20);
    });

    test("counts always equal what list says, whatever is done", async () => {
      await using bench = await opened();
      await fc.assert(
        fc.asyncProperty(operations, async (todo) => {
          await using at = await opened();
          for (const operation of todo) {
            await perform(at.storage, operation, at.world);
            const all = await at.storage.list({ limit: 1000 });
            const count = (state: string) => all.filter((each) => each.state === state).length;
            const [incoming, active] = [count("incoming"), count("active")];
            expect(await infoOf(at.storage)).toEqual({
              size: all.length,
              states: { incoming, active, deferred: count("deferred"), hold: count("hold") },
              bytes: all.reduce((sum, { size }) => sum + size, 0),
              oldestAt: all[0]?.receivedAt ?? null,
              corrupt: 0,
            });
            for (const { id } of all)
              expect((await at.storage.get(id)).envelope.recipients).not.toBeEmpty();
          }
        }),
        { numRuns: bench.many(60) },
      );
    });
  });

  describe(`${name}: the rest`, () => {
    test("waits for news or has none, can be probed, and closes more than once", async () => {
      await using at = await opened();
      const stop = new AbortController();
      const waiting = at.storage.wait(stop.signal);
      stop.abort();
      const news = await waiting;
      if (!at.hasNews) expect(news).toBeNull();
      expect(at.storage.refusal()).toBeUndefined();
      await at.storage.probe();
      await at.storage.close();
      await at.storage.close();
      await expect(at.storage.write([envelope()], 1)).rejects.toThrow("closed");
    });
  });
}
