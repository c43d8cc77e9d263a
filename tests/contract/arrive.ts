import { describe, expect, test } from "bun:test";
import { reply } from "../../src/mail/reply.ts";
import { LostLeaseError, NotFoundError, type Settlement } from "../../src/storage/storage.ts";
import { envelope, idOf } from "../storage/fixtures.ts";
import { type Bench, LATER, type OpenStorage, openBench } from "./bench.ts";

const MOVING = { from: "/old", to: "/new", held: false };

/** What another store knew of a message that comes from there. */
const KNOWN: Settlement = {
  attempts: 4,
  due: 9_000,
  delayNotified: true,
  recipients: [
    { index: 0, status: "delivered", reply: reply(250, "2.0.0", "Ok"), relay: "mx[1]:25" },
    { index: 1, status: "pending", reply: reply(450, "4.2.0", "Later"), relay: "mx[1]:25" },
  ],
};

/** What every engine promises of mail that moves from store to store. */
export function arriveContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);
  const given = envelope({ to: ["one@x", "two@Y", "three@x"] });

  describe(`${name}: mail out of another store`, () => {
    test("arrives in one step with all that is known of it", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([given], 5, { settlement: KNOWN });
      const message = await at.storage.get(id);
      expect(message).toMatchObject({ attempts: 4, due: 9_000, delayNotified: true });
      expect(message.recipients).toEqual(KNOWN.recipients ?? []);
      expect(message.envelope.recipients.map(({ index }) => index)).toEqual([1, 2]);
      const [summary] = await at.storage.list({ limit: 9 });
      expect(summary).toMatchObject({ attempts: 4, due: 9_000, domain: "y", state: "deferred" });
      expect((await at.storage.getInfo()).states).toMatchObject({ incoming: 0, deferred: 1 });
    });

    test("is held from the start when that is said, and nobody's until it is freed", async () => {
      await using at = await opened();
      const settlement = { ...KNOWN, held: true, moving: MOVING };
      const [id = ""] = await at.storage.write([given], 5, { settlement });
      expect(await at.storage.get(id)).toMatchObject({ state: "hold", moving: MOVING });
      expect(await at.storage.flush()).toBe(0);
      expect(await at.storage.nextDue()).toBeNull();
      expect(await at.leasedIds()).toEqual([]);
      await at.storage.settle(id, { held: false, moving: null });
      const freed = await at.storage.get(id);
      expect(freed).toMatchObject({ state: "deferred", due: 9_000, attempts: 4 });
      expect(freed.moving).toBeUndefined();
      expect(await at.storage.nextDue()).toBe(9_000);
      expect(await at.leasedIds()).toEqual([id]);
    });

    test("held and leased it belongs to its writer, whose settlement frees it", async () => {
      await using at = await opened();
      const lease = { holder: "me", until: at.now() + LATER };
      const settlement = { held: true, moving: MOVING };
      const [id = ""] = await at.storage.write([given], 5, { settlement, lease });
      const free = { held: false, moving: null };
      await expect(at.storage.settle(id, free, { holder: "other" })).rejects.toThrow(
        LostLeaseError,
      );
      expect(await at.storage.get(id)).toMatchObject({ state: "hold", moving: MOVING });
      await at.storage.settle(id, free, { holder: "me" });
      expect(await at.leasedIds()).toEqual([id]);
    });

    test("held and leased it stays held when the lease is over", async () => {
      await using at = await opened();
      const lease = { holder: "me", until: at.now() + LATER };
      const [id = ""] = await at.storage.write([given], 5, { settlement: { held: true }, lease });
      at.world.advance(LATER + 1);
      expect(await at.leasedIds()).toEqual([]);
      const late = at.storage.settle(id, { held: false }, { holder: "me" });
      await expect(late).rejects.toThrow(LostLeaseError);
      expect((await at.storage.get(id)).state).toBe("hold");
    });

    test("leaves what is stored already alone", async () => {
      await using at = await opened();
      const ids = [idOf(1)];
      await at.storage.write([given], 5, { ids });
      await at.storage.write([given], 7, { ids, settlement: { ...KNOWN, held: true } });
      expect(await at.storage.get(idOf(1))).toMatchObject({ attempts: 0, state: "incoming" });
    });

    test("that nobody waits for is refused, and nothing is stored", async () => {
      await using at = await opened();
      const recipients = [0, 1, 2].map((index) => ({ index, status: "bounced" as const }));
      await expect(at.storage.write([given], 5, { settlement: { recipients } })).rejects.toThrow(
        "nobody",
      );
      expect(await at.listed()).toEqual([]);
    });
  });

  describe(`${name}: mail on its way to another store`, () => {
    test("is held by a settlement, which does not touch when it is due", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([given], 70);
      await at.storage.settle(id, { held: true, moving: MOVING });
      expect(await at.storage.get(id)).toMatchObject({ state: "hold", due: 70, moving: MOVING });
      expect((await at.storage.getInfo()).states).toMatchObject({ incoming: 0, hold: 1 });
      expect(await at.leasedIds()).toEqual([]);
      expect((await at.storage.list({ limit: 9 }))[0]?.moving).toEqual(MOVING);
      await at.storage.settle(id, { held: false, moving: null });
      expect(await at.storage.get(id)).toMatchObject({ state: "incoming", due: 70 });
      expect(await at.leasedIds()).toEqual([id]);
      expect((await at.storage.list({ limit: 9 }))[0]?.moving).toBeUndefined();
    });

    test("that is being delivered meanwhile stays with who has it, and held behind its settlement", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([given], 70);
      await at.lease(1, "node");
      await at.storage.settle(id, { held: true, moving: MOVING });
      await at.storage.settle(id, { attempts: 1, due: 80 }, { holder: "node" });
      expect(await at.storage.get(id)).toMatchObject({ state: "hold", attempts: 1 });
    });

    test("the mark stays through other settlements", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([given], 70);
      await at.storage.settle(id, { moving: MOVING });
      await at.storage.settle(id, { attempts: 2, due: 90 });
      expect(await at.storage.get(id)).toMatchObject({ moving: MOVING, state: "deferred" });
      const dropped = [0, 1, 2].map((index) => ({ index, status: "dropped" as const }));
      await at.storage.settle(id, { recipients: dropped });
      await expect(at.storage.get(id)).rejects.toThrow(NotFoundError);
    });
  });
}
