import { describe, expect, test } from "bun:test";
import { LostLeaseError, NotFoundError } from "../../src/storage/storage.ts";
import { envelope, idOf } from "../storage/fixtures.ts";
import { type Bench, LATER, type OpenStorage, openBench } from "./bench.ts";

/** What every engine promises of leases, holds, flushes and times. */
export function scheduleContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);

  describe(`${name}: leases`, () => {
    test("earliest first, at most as many as asked for, and only what is due", async () => {
      await using at = await opened();
      const dues = [30, 10, 20, -5, 1];
      for (const [index, due] of dues.entries()) {
        await at.storage.write([envelope()], at.now() + due, { ids: [idOf(index)] });
      }
      at.world.advance(20);
      const leases = await at.lease(3);
      expect(leases.map(({ id }) => id)).toEqual([idOf(3), idOf(4), idOf(1)]);
      expect(leases[0]).toEqual({ id: idOf(3), domain: "example.com", due: at.now() - 25 });
      expect(await at.leasedIds()).toEqual([idOf(2)]);
      expect(await at.leasedIds()).toEqual([]);
    });

    test("says the lower-case domain of the first pending recipient", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write(
        [envelope({ to: ["a@ONE.example", "b@Two.example"] })],
        1,
      );
      expect(await at.lease()).toMatchObject([{ domain: "one.example" }]);
      await at.storage.settle(
        id,
        { due: 1, recipients: [{ index: 0, status: "delivered" }] },
        { holder: "me" },
      );
      expect(await at.lease()).toMatchObject([{ domain: "two.example" }]);
      expect(await at.storage.list({ limit: 9, domain: "two.example" })).toHaveLength(1);
    });

    test("a lease that is over makes the message visible again, and its holder a stranger", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      at.world.advance(LATER - 1);
      expect(await at.leasedIds(10, "other")).toEqual([]);
      at.world.advance(1);
      // Nobody has leased it since, and still this is too late.
      await expect(at.storage.settle(id, { attempts: 1 }, { holder: "me" })).rejects.toThrow(
        LostLeaseError,
      );
      expect((await at.storage.get(id)).attempts).toBe(0);
      expect(await at.leasedIds(10, "other")).toEqual([id]);
      await expect(at.storage.settle(id, { attempts: 1 }, { holder: "me" })).rejects.toThrow(
        LostLeaseError,
      );
      await at.storage.settle(id, { attempts: 1, due: at.now() }, { holder: "other" });
    });

    test("a late holder's bounces are not stored either", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      at.world.advance(LATER);
      const bounces = [{ id: idOf(9), envelope: envelope({ sender: "" }) }];
      const late = at.storage.settle(
        id,
        { recipients: [{ index: 0, status: "bounced" }] },
        { holder: "me", bounces },
      );
      await expect(late).rejects.toThrow(LostLeaseError);
      expect(await at.listed()).toEqual([id]);
    });

    test("renewing keeps it, but only for who has it", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.renew([id], "other", at.now() + 1);
      await at.storage.renew([id, "nobody"], "me", at.now() + 2 * LATER);
      at.world.advance(LATER + 1);
      expect(await at.leasedIds(10, "other")).toEqual([]);
      at.world.advance(LATER);
      await at.storage.renew([id], "me", at.now() + LATER);
      expect(await at.leasedIds(10, "other")).toEqual([id]);
    });

    test("releasing gives it back as it was, but only for who has it", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.release([id, "nobody"], "other");
      expect(await at.leasedIds(10, "other")).toEqual([]);
      await at.storage.release([id], "me");
      await expect(at.storage.settle(id, {}, { holder: "me" })).rejects.toThrow(LostLeaseError);
      expect(await at.storage.get(id)).toMatchObject({
        state: "incoming",
        attempts: 0,
        due: at.now(),
      });
      expect(await at.leasedIds(10, "other")).toEqual([id]);
    });

    test("several that lease at the same time never get the same message, and miss none", async () => {
      await using at = await opened();
      const made = Array.from({ length: 200 }, (_, index) =>
        envelope({ to: [`x@d${index % 7}.example`] }),
      );
      const ids = await at.storage.write(made, at.now());
      const holders = Array.from({ length: 5 }, (_, index) => `holder ${index}`);
      const taken = await Promise.all(
        holders.map(async (holder) => {
          const mine: string[] = [];
          for (let round = 0; round < 20; round += 1) {
            mine.push(...(await at.leasedIds(7, holder)));
          }
          return mine;
        }),
      );
      expect(taken.flat().toSorted()).toEqual([...ids]);
      for (const [index, holder] of holders.entries()) {
        const [id] = taken[index] ?? [];
        if (id !== undefined) await at.storage.settle(id, { attempts: 1 }, { holder });
      }
    });

    test("what an operator changes meanwhile makes it visible to nobody", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope({ to: ["a@x", "b@x"] })], at.now());
      await at.lease();
      await at.storage.setTimestamp(id, at.now());
      await at.storage.incrementAttempts(id);
      const bounces = [{ id: idOf(9), envelope: envelope({ sender: "" }) }];
      await at.storage.settle(
        id,
        { due: at.now(), recipients: [{ index: 0, status: "bounced" }] },
        { bounces },
      );
      expect(await at.leasedIds(10, "other")).toEqual([idOf(9)]);
      await at.storage.settle(id, { attempts: 2, due: at.now() }, { holder: "me" });
      expect(await at.leasedIds(10, "other")).toEqual([id]);
    });

    test("an operator may remove it meanwhile, and the settlement finds nothing", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.remove(id);
      await expect(at.storage.settle(id, {}, { holder: "me" })).rejects.toThrow(NotFoundError);
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, states: { active: 0 } });
    });

    test("domains to skip cost nothing that grows with their mail", async () => {
      await using at = await opened();
      const piled = Array.from({ length: at.many(3000) }, () =>
        envelope({ to: ["x@dead.example"] }),
      );
      await at.storage.write(piled, at.now() - LATER);
      const [id = ""] = await at.storage.write([envelope({ to: ["x@alive.example"] })], at.now());
      let asked = 0;
      const skip = (domain: string) => {
        asked += 1;
        return domain === "dead.example";
      };
      const until = at.now() + LATER;
      const leases = await at.storage.lease(at.now(), 10, { holder: "me", until, skip });
      expect(leases.map((lease) => lease.id)).toEqual([id]);
      expect(asked).toBeLessThan(500);
    });

    test("thousands of domains to skip hide no other for long", async () => {
      await using at = await opened();
      const piled = Array.from({ length: at.many(3000) }, (_, number) =>
        envelope({ to: [`x@d${number}.dead.example`] }),
      );
      await at.storage.write(piled, at.now() - LATER);
      const [id = ""] = await at.storage.write([envelope({ to: ["x@zebra.example"] })], at.now());
      const skip = (domain: string) => domain.endsWith(".dead.example");
      const until = at.now() + LATER;
      const found: string[] = [];
      for (let looks = 0; looks < 4; looks += 1) {
        const leases = await at.storage.lease(at.now(), 10, { holder: "me", until, skip });
        found.push(...leases.map((lease) => lease.id));
      }
      expect(found).toEqual([id]);
    });
  });

  describe(`${name}: hold`, () => {
    test("a held message is kept and never due; releasing makes it due now", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now() + LATER);
      expect(await at.storage.setHeld(id, true)).toBe(true);
      expect(await at.storage.setHeld(id, true)).toBe(false);
      await at.storage.setTimestamp(id, at.now());
      await at.storage.flush();
      expect(await at.leasedIds()).toEqual([]);
      expect(await at.storage.nextDue()).toBeNull();
      expect((await at.storage.get(id)).state).toBe("hold");
      at.world.advance(5);
      expect(await at.storage.setHeld(id, false)).toBe(true);
      expect(await at.storage.setHeld(id, false)).toBe(false);
      expect(await at.storage.get(id)).toMatchObject({ state: "incoming", due: at.now() });
      expect(await at.leasedIds()).toEqual([id]);
    });

    test("a message that is held while it is delivered stays held behind its settlement", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.setHeld(id, true);
      await at.storage.settle(id, { attempts: 1, due: at.now() }, { holder: "me" });
      expect(await at.storage.get(id)).toMatchObject({ state: "hold", attempts: 1 });
      expect(await at.leasedIds()).toEqual([]);
    });

    test("one that is released again while it is delivered is still nobody else's", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.setHeld(id, true);
      await at.storage.setHeld(id, false);
      expect((await at.storage.get(id)).state).toBe("active");
      expect(await at.leasedIds(10, "other")).toEqual([]);
      await at.storage.settle(id, { attempts: 1 }, { holder: "me" });
    });

    test("a held message may be delivered to its end by who had it", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now());
      await at.lease();
      await at.storage.setHeld(id, true);
      await at.storage.settle(
        id,
        { recipients: [{ index: 0, status: "delivered" }] },
        { holder: "me" },
      );
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, states: { hold: 0 } });
    });
  });

  describe(`${name}: flush`, () => {
    test("makes everything that waits due, and says how many that is", async () => {
      await using at = await opened();
      const ids = await at.storage.write(
        [envelope(), envelope(), envelope(), envelope()],
        at.now() + LATER,
      );
      await at.storage.setHeld(ids[0] ?? "", true);
      await at.storage.write([envelope()], at.now());
      await at.lease();
      expect(await at.storage.nextDue()).toBe(at.now() + LATER);
      expect(await at.storage.flush()).toBe(3);
      expect(await at.storage.nextDue()).toBeLessThanOrEqual(at.now());
      expect((await at.leasedIds()).sort()).toEqual(ids.slice(1));
    });

    test("what is scheduled after it waits for its time", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now() + LATER);
      await at.storage.flush();
      await at.storage.setTimestamp(id, at.now() + LATER);
      const [other = ""] = await at.storage.write([envelope()], at.now() + LATER);
      expect(await at.leasedIds()).toEqual([]);
      expect(await at.storage.nextDue()).toBe(at.now() + LATER);
      at.world.advance(LATER);
      expect((await at.leasedIds()).sort()).toEqual([id, other].sort());
    });

    test("what was leased because of it waits for the time that its settlement sets", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now() + 10 * LATER);
      await at.storage.flush();
      await at.lease();
      await at.storage.settle(id, { attempts: 1, due: at.now() + LATER }, { holder: "me" });
      expect(await at.leasedIds()).toEqual([]);
    });

    test("what was leased because of it and is given back is still due", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], at.now() + 10 * LATER);
      await at.storage.flush();
      await at.lease();
      await at.storage.release([id], "me");
      expect(await at.leasedIds()).toEqual([id]);
      at.world.advance(LATER);
      expect(await at.leasedIds(10, "other")).toEqual([id]);
    });

    test("a change that sets no time does not take it back", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write(
        [envelope({ to: ["a@x", "b@x"] })],
        at.now() + LATER,
      );
      await at.storage.flush();
      await at.storage.setRecipientsDelivered(id, [0]);
      expect(await at.leasedIds()).toEqual([id]);
    });

    test("timelyOnly leaves out what is due only because of it", async () => {
      await using at = await opened();
      await at.storage.write([envelope()], at.now() + LATER);
      await at.storage.flush();
      const [timely = ""] = await at.storage.write([envelope()], at.now());
      const options = { holder: "me", until: at.now() + LATER, timelyOnly: true };
      expect((await at.storage.lease(at.now(), 9, options)).map(({ id }) => id)).toEqual([timely]);
    });
  });

  describe(`${name}: nextDue`, () => {
    test("is the earliest time of what is neither leased nor held, also in the past", async () => {
      await using at = await opened();
      expect(await at.storage.nextDue()).toBeNull();
      const [late = ""] = await at.storage.write([envelope()], at.now() + 10);
      await at.storage.write([envelope()], at.now() - 10);
      expect(await at.storage.nextDue()).toBe(at.now() - 10);
      await at.lease();
      expect(await at.storage.nextDue()).toBe(at.now() + 10);
      await at.storage.setHeld(late, true);
      expect(await at.storage.nextDue()).toBeNull();
      at.world.advance(LATER);
      expect(await at.storage.nextDue()).toBe(at.now() - 10 - LATER);
    });
  });
}
