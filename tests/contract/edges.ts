import { describe, expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import { LostLeaseError, type QueueStorage } from "../../src/storage/storage.ts";
import { collect, envelope, idOf, infoOf } from "../storage/fixtures.ts";
import { type Bench, LATER, type OpenStorage, openBench } from "./bench.ts";

const YEAR_9999 = 253_402_300_799_000;

/** What every engine promises of values at the edges, of calls that ask for nothing, and of calls that are made again. */
export function edgeContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);

  describe(`${name}: ids and names`, () => {
    test("what could not be read back is refused when it is written, alone or among others", async () => {
      await using at = await opened();
      const fine = idOf(1);
      for (const id of ["", "a.b", "../up", "a/b", "a b", "ü", "a\0", "A".repeat(65)]) {
        const both = [envelope(), envelope()];
        const refused = at.storage.write(both, 1, { ids: [fine, id] });
        await expect(refused).rejects.toThrow("an id has");
        await expect(refused).rejects.toThrow(QueueError);
      }
      const nobody = { ...envelope(), recipients: [] };
      await expect(at.storage.write([nobody], 1)).rejects.toThrow("has no recipients");
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, corrupt: 0 });
    });

    test("ids of one and of 64 characters sort by their octets", async () => {
      await using at = await opened();
      const ids = ["-", "0", "9", "A", "Z", "_", "__proto__", "a", "constructor", "z".repeat(64)];
      await at.storage.write(
        ids.map((_, index) => envelope({ text: `${index}` })),
        1,
        { ids: ids.toReversed() },
      );
      expect(await at.listed()).toEqual(ids);
      const [first] = await at.storage.list({ limit: 1, after: "_" });
      expect(first?.id).toBe("__proto__");
      for (const id of ids) await at.storage.remove(id);
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, bytes: 0 });
    });

    test("names of holders, senders and recipients may be anything", async () => {
      await using at = await opened();
      const holder = "mx 1.example/0'\"\\{}*: ü😀";
      const sender = "'; DROP TABLE \\x00 \u0001😀@\u202eexample";
      const to = ['"a b\\"c"@[IPv6:2001:db8::1]', "no domain", "x@*?[a]{b}", "😀@ünï.example"];
      const [id = ""] = await at.storage.write([envelope({ sender, to })], at.now());
      expect(await at.leasedIds(9, holder)).toEqual([id]);
      await at.storage.settle(id, { attempts: 1 }, { holder });
      const message = await at.storage.get(id);
      expect(message.envelope.sender).toBe(sender);
      expect(message.original.map(({ address }) => address)).toEqual(to);
      expect(await at.storage.list({ limit: 9, sender })).toHaveLength(1);
    });

    test("a thousand recipients end one by one and all together", async () => {
      await using at = await opened();
      const to = Array.from({ length: 1000 }, (_, index) => `r${index}@d${index % 10}.example`);
      const [id = ""] = await at.storage.write([envelope({ to })], 1);
      const odd = to.flatMap((_, index) => (index % 2 ? [index] : []));
      await at.storage.setRecipientsDelivered(id, odd);
      await at.storage.setRecipientsDelivered(id, [0]);
      const message = await at.storage.get(id);
      expect(message.envelope.recipients).toHaveLength(499);
      expect(message.envelope.recipients[0]).toEqual({ index: 2, address: "r2@d2.example" });
      expect(message.recipients).toHaveLength(501);
      expect(message.recipientCount).toBe(1000);
      await at.storage.setRecipientsDelivered(id, [...to.keys()]);
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, bytes: 0 });
    });

    test("instants of any age are kept and sorted", async () => {
      await using at = await opened();
      const dues = [YEAR_9999, at.now() + 1, 0, -1, -62_135_596_800_000, at.now()];
      for (const [index, due] of dues.entries()) {
        await at.storage.write([envelope()], due, { ids: [idOf(index)] });
      }
      expect(await at.storage.nextDue()).toBe(-62_135_596_800_000);
      expect(await at.leasedIds()).toEqual([4, 3, 2, 5].map(idOf));
      expect(await at.storage.nextDue()).toBe(at.now() + 1);
      expect((await at.storage.get(idOf(0))).due).toBe(YEAR_9999);
    });
  });

  describe(`${name}: nothing, and again`, () => {
    test("calls that ask for nothing do nothing", async () => {
      await using at = await opened();
      const { storage } = at;
      const [id = ""] = await storage.write([envelope()], at.now());
      const before = [await storage.get(id), await infoOf(storage)];
      const options = { holder: "me", until: at.now() + LATER };
      expect(await storage.write([], 1)).toEqual([]);
      expect(await storage.lease(at.now(), 0, options)).toEqual([]);
      await storage.renew([], "me", at.now() + LATER);
      await storage.release([], "me");
      await storage.setRecipientsDelivered(id, []);
      await storage.settle(id, {}, { bounces: [] });
      expect(await storage.list({ limit: 0 })).toEqual([]);
      expect(await storage.list({ limit: 9, after: id })).toEqual([]);
      expect(await storage.list({ limit: 9, domain: "none.example" })).toEqual([]);
      expect([await storage.get(id), await infoOf(storage)]).toEqual(before);
    });

    test("an empty queue answers all questions", async () => {
      await using at = await opened();
      const { storage } = at;
      expect(await collect(storage.load())).toEqual([]);
      expect(await at.lease()).toEqual([]);
      expect(await storage.nextDue()).toBeNull();
      expect(await storage.flush()).toBe(0);
      expect(await infoOf(storage)).toEqual({
        size: 0,
        states: { incoming: 0, active: 0, deferred: 0, hold: 0 },
        bytes: 0,
        oldestAt: null,
        corrupt: 0,
      });
    });

    test("each call made twice leaves what it leaves made once", async () => {
      await using at = await opened();
      const { storage } = at;
      const ids = [idOf(1)];
      const to = ["a@x", "b@y", "c@x"];
      const left = async () => [await storage.get(idOf(1)), await infoOf(storage)];
      const twice = async (act: () => Promise<unknown>) => {
        await act();
        const once = await left();
        await act();
        expect(await left()).toEqual(once);
      };
      await twice(() => storage.write([envelope({ to })], at.now(), { ids }));
      await twice(() => storage.setTimestamp(idOf(1), at.now() - 5));
      await twice(() => storage.setRecipientsDelivered(idOf(1), [1]));
      await twice(() => at.lease());
      await twice(() => storage.renew(ids, "me", at.now() + 2 * LATER));
      await twice(() => storage.release(ids, "me"));
      await twice(() => storage.setHeld(idOf(1), true));
      await twice(() => storage.setHeld(idOf(1), false));
      const ended = { recipients: [{ index: 0, status: "bounced" as const }], attempts: 3 };
      const bounces = [{ id: idOf(2), envelope: envelope({ sender: "" }) }];
      await twice(() => storage.settle(idOf(1), ended, { bounces }));
      await twice(() => storage.remove(idOf(2)));
      expect(await storage.flush()).toBe(1);
      expect(await storage.flush()).toBe(1);
    });

    test("ids that are named twice or unknown do not keep the others from it", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      const all = ["nobody", id, id, idOf(7)];
      await at.storage.renew(all, "me", at.now() + 2 * LATER);
      at.world.advance(LATER + 1);
      expect(await at.leasedIds(9, "other")).toEqual([]);
      await at.storage.release(all, "me");
      expect(await at.leasedIds(9, "other")).toEqual([id]);
    });

    test("who closes it is refused everything that would change or read it, and hears why", async () => {
      await using at = await opened();
      const { storage } = at;
      const [id = ""] = await storage.write([envelope()], 1);
      await storage.close();
      expect(storage.refusal()).toContain("closed");
      for (const [verb, call] of verbsOf(storage, id)) {
        const error = await call().then(
          () => undefined,
          (cause: unknown) => cause,
        );
        expect(error, verb).toBeInstanceOf(QueueError);
        expect((error as Error).message, verb).toContain("closed");
      }
      expect(await storage.wait(new AbortController().signal)).toBeNull();
    });
  });

  describe(`${name}: leases at the edge`, () => {
    test("who has a message does not get it once more, nor renews it at its last instant", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      expect(await at.leasedIds()).toEqual([id]);
      expect(await at.leasedIds()).toEqual([]);
      at.world.advance(LATER);
      await at.storage.renew([id], "me", at.now() + LATER);
      expect(await at.leasedIds(9, "other")).toEqual([id]);
      await at.storage.renew([id], "me", at.now() + 9 * LATER);
      await at.storage.release([id], "me");
      at.world.advance(LATER - 1);
      await at.storage.settle(id, { due: at.now() }, { holder: "other" });
      expect(await at.leasedIds()).toEqual([id]);
    });

    test("a lease that is over from the start is none", async () => {
      await using at = await opened();
      const lease = { holder: "me", until: at.now() - 1 };
      const [id = ""] = await at.storage.write([envelope()], at.now(), { lease });
      await expect(at.storage.settle(id, {}, { holder: "me" })).rejects.toThrow(LostLeaseError);
      expect(await at.leasedIds(9, "other")).toEqual([id]);
    });

    test("however many leases end at the same time, all of that mail is found", async () => {
      await using at = await opened();
      const made = Array.from({ length: at.many(1200) }, () => envelope());
      const ids = await at.storage.write(made, at.now());
      expect(await at.lease(1200)).toHaveLength(made.length);
      expect(await at.storage.nextDue()).toBeNull();
      at.world.advance(LATER);
      expect(await at.storage.nextDue()).not.toBeNull();
      const found: string[] = [];
      for (let looks = 0; looks < 8; looks += 1) found.push(...(await at.leasedIds(1200, "heir")));
      expect(found.toSorted()).toEqual([...ids]);
    });

    test("what was held while it was leased is held when the lease ends by itself", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.setHeld(id, true);
      at.world.advance(LATER);
      expect(await at.leasedIds(9, "other")).toEqual([]);
      await expect(at.storage.settle(id, {}, { holder: "me" })).rejects.toThrow(LostLeaseError);
      await at.storage.setHeld(id, false);
      expect(await at.leasedIds(9, "other")).toEqual([id]);
    });

    test("an id that is used again has nothing of the lease of the message before", async () => {
      await using at = await opened();
      const ids = [idOf(1)];
      await at.storage.write([envelope()], at.now(), { ids });
      await at.lease();
      await at.storage.remove(idOf(1));
      await at.storage.write([envelope()], at.now(), { ids });
      await expect(at.storage.settle(idOf(1), {}, { holder: "me" })).rejects.toThrow(
        LostLeaseError,
      );
      expect(await at.leasedIds(9, "other")).toEqual(ids);
    });
  });
}

function verbsOf(
  storage: QueueStorage,
  id: string,
): readonly (readonly [string, () => Promise<unknown>])[] {
  return [
    ["write", () => storage.write([envelope()], 1)],
    ["openBody", () => storage.openBody()],
    ["settle", () => storage.settle(id, { attempts: 1 })],
    ["setTimestamp", () => storage.setTimestamp(id, 1)],
    ["incrementAttempts", () => storage.incrementAttempts(id)],
    ["setRecipientsDelivered", () => storage.setRecipientsDelivered(id, [0])],
    ["load", () => collect(storage.load())],
    ["get", () => storage.get(id)],
    ["remove", () => storage.remove(id)],
    ["lease", () => storage.lease(1, 9, { holder: "me", until: 2 })],
    ["renew", () => storage.renew([id], "me", 2)],
    ["release", () => storage.release([id], "me")],
    ["nextDue", () => storage.nextDue()],
    ["flush", () => storage.flush()],
    ["setHeld", () => storage.setHeld(id, true)],
    ["list", () => storage.list({ limit: 9 })],
    ["getInfo", () => storage.getInfo()],
    ["probe", () => storage.probe()],
  ];
}
