import { describe, expect, test } from "bun:test";
import { reply } from "../../src/mail/reply.ts";
import { NotFoundError } from "../../src/storage/storage.ts";
import { bytesOf, envelope, idOf } from "../storage/fixtures.ts";
import { type Bench, LATER, type OpenStorage, openBench } from "./bench.ts";

/** What every engine promises of settlements. */
export function settleContract(name: string, open: OpenStorage): void {
  const opened = (): Promise<Bench> => openBench(open);

  describe(`${name}: settle`, () => {
    test("names recipients by their index in the envelope as stored, however often (D1-D3)", async () => {
      await using at = await opened();
      const to = ["a@x", "b@x", "c@x", "d@x"];
      const [id = ""] = await at.storage.write([envelope({ to })], 1);
      const left = async () =>
        (await at.storage.get(id)).envelope.recipients.map(({ address }) => address);
      await at.storage.setRecipientsDelivered(id, [0]);
      expect(await left()).toEqual(["b@x", "c@x", "d@x"]);
      await at.storage.setRecipientsDelivered(id, [2]);
      expect(await left()).toEqual(["b@x", "d@x"]);
      await at.storage.setRecipientsDelivered(id, [2, 2, 3]);
      expect(await left()).toEqual(["b@x"]);
      const { recipientCount, original, envelope: pending } = await at.storage.get(id);
      expect(pending.recipients).toEqual([{ index: 1, address: "b@x" }]);
      expect(recipientCount).toBe(4);
      expect(original.map(({ address }) => address)).toEqual(to);
      await at.storage.setRecipientsDelivered(id, [1]);
      await expect(at.storage.get(id)).rejects.toThrow(NotFoundError);
    });

    test("keeps the last word on each recipient, and an end is final", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope({ to: ["a@x", "b@x"] })], 1);
      const later = {
        index: 0,
        status: "pending" as const,
        reply: reply(450, "4.2.0", "Later"),
        relay: "mx[1]:25",
      };
      await at.storage.settle(id, { recipients: [later] });
      expect((await at.storage.get(id)).recipients).toEqual([later]);
      await at.storage.settle(id, { recipients: [{ index: 0, status: "bounced" }] });
      await at.storage.settle(id, {
        recipients: [
          { index: 0, status: "pending" },
          { index: 0, status: "delivered" },
        ],
      });
      const message = await at.storage.get(id);
      expect(message.recipients).toEqual([{ index: 0, status: "bounced" }]);
      expect(message.envelope.recipients.map(({ index }) => index)).toEqual([1]);
    });

    test("what is absent stays as it is", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope({ to: ["a@x", "b@x"] })], 77);
      await at.storage.settle(id, {
        attempts: 3,
        delayNotified: true,
        recipients: [{ index: 1, status: "dropped" }],
      });
      await at.storage.settle(id, {});
      expect(await at.storage.get(id)).toMatchObject({
        attempts: 3,
        due: 77,
        delayNotified: true,
        state: "deferred",
      });
      expect((await at.storage.get(id)).recipients).toEqual([{ index: 1, status: "dropped" }]);
    });

    test("indexes that the message does not have end nobody", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope({ to: ["a@x", "b@x"] })], 1);
      await at.storage.setRecipientsDelivered(id, [2, 7, -1, 0.5]);
      expect((await at.storage.get(id)).envelope.recipients.length).toBe(2);
    });

    test("with nobody pending the message is gone", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], 1);
      await at.storage.settle(id, { recipients: [{ index: 0, status: "delivered" }] });
      await expect(at.storage.get(id)).rejects.toThrow(NotFoundError);
      expect(await at.storage.getInfo()).toMatchObject({ size: 0, bytes: 0, oldestAt: null });
      await at.storage.remove(id);
    });

    test("stores bounces in the same step, due at once and unleased", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope({ to: ["a@x", "b@x"] })], at.now());
      await at.lease();
      const bounces = [
        { id: idOf(8), envelope: envelope({ sender: "", text: "bounce one" }) },
        { id: idOf(9), envelope: envelope({ sender: "", text: "bounce two" }) },
      ];
      const settlement = {
        attempts: 1,
        due: at.now() + LATER,
        recipients: [{ index: 0, status: "bounced" as const }],
      };
      await at.storage.settle(id, settlement, { holder: "me", bounces });
      expect(await at.storage.get(id)).toMatchObject({ attempts: 1, state: "deferred" });
      expect((await at.storage.get(id)).envelope.recipients.map(({ index }) => index)).toEqual([1]);
      const due = await at.leasedIds();
      expect(due.toSorted()).toEqual([idOf(8), idOf(9)]);
      expect(await bytesOf((await at.storage.get(idOf(9))).envelope.content)).toEqual(
        Buffer.from("bounce two"),
      );
    });

    test("a bounce that is stored already does not keep the settlement from being made", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], 1);
      const bounces = [{ id: idOf(9), envelope: envelope({ sender: "" }) }];
      await at.storage.write([envelope({ sender: "" })], 1, { ids: [idOf(9)] });
      await at.storage.settle(id, { recipients: [{ index: 0, status: "bounced" }] }, { bounces });
      expect(await at.listed()).toEqual([idOf(9)]);
    });

    test("an unknown id is NotFoundError in every verb but remove", async () => {
      await using at = await opened();
      const { storage } = at;
      const verbs = [
        () => storage.get("nobody"),
        () => storage.settle("nobody", {}),
        () => storage.settle("nobody", {}, { holder: "me" }),
        () => storage.setTimestamp("nobody", 1),
        () => storage.incrementAttempts("nobody"),
        () => storage.setRecipientsDelivered("nobody", [0]),
        () => storage.setHeld("nobody", true),
      ];
      for (const verb of verbs) await expect(verb()).rejects.toThrow(NotFoundError);
      await storage.remove("nobody");
    });

    test("incrementAttempts counts and returns the new count, also when asked twice at a time", async () => {
      await using at = await opened();
      const [id = ""] = await at.storage.write([envelope()], 1);
      const counts = await Promise.all([
        at.storage.incrementAttempts(id),
        at.storage.incrementAttempts(id),
      ]);
      expect(counts.sort()).toEqual([1, 2]);
      expect((await at.storage.get(id)).attempts).toBe(2);
    });
  });
}
