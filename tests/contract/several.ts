import { describe, expect, test } from "bun:test";
import { realWorld } from "../../src/lib/world.ts";
import { LostLeaseError, type QueueStorage } from "../../src/storage/storage.ts";
import { envelope } from "../storage/fixtures.ts";
import { type Child, startChild } from "../support/child.ts";
import { until } from "../support/until.ts";
import { newQueue, openUrl, type StoreServer } from "./shared-store.ts";
import { skewedWorld } from "./worlds.ts";

const NODE = `${import.meta.dir}/node.ts`;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ENDED = { recipients: [{ index: 0, status: "delivered" as const }] };

const now = () => Date.now();

/** What every shared engine promises of several processes on one queue, each with a clock of its own. */
export function severalContract(name: string, server: () => Pick<StoreServer, "url">): void {
  describe(`${name}: several processes`, () => {
    test("each message is one's, and all are done, while more comes", async () => {
      const url = server().url(newQueue());
      await using edge = await opened(url);
      await using nodes = await startNodes(url, ["a", "b", "c"]);
      const ids: string[] = [];
      for (let round = 0; round < 20; round += 1) {
        const made = Array.from({ length: 15 }, (_, index) =>
          envelope({ to: [`x@d${index % 4}.example`] }),
        );
        ids.push(...(await edge.storage.write(made, now())));
      }
      await until("all are done", async () => (await edge.storage.getInfo()).size === 0);
      await nodes.stop();
      expect(nodes.said("leased")).toEqual(ids.toSorted());
      expect(nodes.said("settled")).toEqual(ids.toSorted());
      expect(nodes.said("lost")).toEqual([]);
    });

    test("what a killed process had is taken over once, when its leases end and no earlier", async () => {
      const url = server().url(newQueue());
      await using edge = await opened(url);
      const leaseMs = 2000;
      await using dying = await startNodes(url, ["dying"], { leaseMs, mode: "keep" });
      const since = now();
      const ids = await edge.storage.write(six(), since);
      await until("they are leased", () => dying.said("leased").length === ids.length);
      await dying.kill();
      await using heirs = await startNodes(url, ["b", "c"], { mode: "keep" });
      await until("one is taken over", () => heirs.said("leased").length > 0);
      expect(now() - since).toBeGreaterThanOrEqual(leaseMs);
      await until("they are taken over", () => heirs.said("leased").length >= ids.length);
      await heirs.stop();
      expect(heirs.said("leased")).toEqual(ids.toSorted());
    });

    test("a process that stood still for longer than its leases settles nothing with them", async () => {
      const url = server().url(newQueue());
      await using edge = await opened(url);
      await using frozen = await startNodes(url, ["frozen"], { leaseMs: 1000, mode: "keep" });
      const ids = await edge.storage.write(six(), now());
      await until("they are leased", () => frozen.said("leased").length === ids.length);
      frozen.signal("SIGSTOP");
      await using heirs = await startNodes(url, ["b", "c"], { mode: "keep" });
      await until("they are taken over", () => heirs.said("leased").length >= ids.length);
      frozen.signal("SIGUSR2");
      frozen.signal("SIGCONT");
      await until("it has tried", () => frozen.said("lost").length === ids.length);
      expect(frozen.said("settled")).toEqual([]);
      heirs.signal("SIGUSR2");
      await until("all are done", () => heirs.said("settled").length >= ids.length);
      expect(heirs.said("settled")).toEqual(ids.toSorted());
      expect(await edge.storage.getInfo()).toMatchObject({ size: 0 });
      expect(heirs.said("leased")).toEqual(ids.toSorted());
    });
  });

  describe(`${name}: several nodes`, () => {
    test("the store says that it is theirs together", async () => {
      await using one = await opened(server().url(newQueue()));
      expect(one.storage.isShared).toBe(true);
    });

    test("a clock that is wrong by an hour neither delays mail nor takes it from others", async () => {
      const url = server().url(newQueue());
      await using ahead = await opened(url, HOUR);
      await using behind = await opened(url, -HOUR);
      await using right = await opened(url);
      const all = [ahead, behind, right];
      for (const writer of all) {
        for (const reader of all) {
          const [id = ""] = await writer.storage.write([envelope()], writer.now());
          const lease = await until("it is due", async () => (await leaseAll(reader, "r"))[0]);
          expect(lease.id).toBe(id);
          for (const other of all) expect(await leaseAll(other, "o")).toEqual([]);
          const { lease: tenure } = await writer.storage.get(id);
          expect(tenure?.holder).toBe("r");
          expect(Math.abs((tenure?.until ?? 0) - writer.now() - MINUTE)).toBeLessThan(10_000);
          await reader.storage.settle(id, ENDED, { holder: "r" });
        }
      }
    });

    test("a lease ends by the store's clock, whoever asks", async () => {
      const url = server().url(newQueue());
      await using ahead = await opened(url, HOUR);
      await using behind = await opened(url, -HOUR);
      const [id = ""] = await behind.storage.write([envelope()], behind.now() - MINUTE);
      const [first] = await leaseAll(behind, "first", 300);
      expect(first?.id).toBe(id);
      await until("it is over", async () => (await leaseAll(ahead, "second", 300)).length > 0);
      await expect(behind.storage.settle(id, ENDED, { holder: "first" })).rejects.toThrow(
        LostLeaseError,
      );
      await until("it is over", async () => (await leaseAll(behind, "third")).length > 0);
      await behind.storage.settle(id, ENDED, { holder: "third" });
    });

    test("who has lost a lease renews and gives back nothing of the one who has it now", async () => {
      const url = server().url(newQueue());
      await using one = await opened(url);
      await using other = await opened(url);
      const [id = ""] = await one.storage.write([envelope()], now());
      await leaseAll(one, "late", 200);
      await until("it is taken over", async () => (await leaseAll(other, "heir")).length > 0);
      await one.storage.renew([id], "late", now() + HOUR);
      await one.storage.release([id], "late");
      const { lease } = await other.storage.get(id);
      expect(lease?.holder).toBe("heir");
      expect(lease?.until).toBeLessThan(now() + HOUR / 2);
      expect(await leaseAll(one, "third")).toEqual([]);
      await other.storage.settle(id, ENDED, { holder: "heir" });
    });

    test("two that change one message at the same time both have their way", async () => {
      const url = server().url(newQueue());
      await using one = await opened(url);
      await using other = await opened(url);
      const to = ["a@x", "b@x", "c@x"];
      const [id = ""] = await one.storage.write([envelope({ to })], now());
      const counts = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          (index % 2 ? one : other).storage.incrementAttempts(id),
        ),
      );
      expect(counts.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      await Promise.all([
        one.storage.setRecipientsDelivered(id, [0]),
        other.storage.setRecipientsDelivered(id, [2]),
      ]);
      expect(await one.storage.get(id)).toMatchObject({
        attempts: 10,
        envelope: { recipients: [{ index: 1 }] },
      });
    });

    test("the same id from two nodes at the same time is stored once", async () => {
      const url = server().url(newQueue());
      await using one = await opened(url);
      await using other = await opened(url);
      for (let round = 0; round < 10; round += 1) {
        const ids = [`1M80000000SAME${round}`];
        const write = ({ storage }: Node, sender: string) =>
          storage.write([envelope({ sender, text: sender })], 1, { ids });
        await Promise.all([write(one, "a@x"), write(other, "b@x")]);
        const [seen, same] = await Promise.all(
          [one, other].map((node) => node.storage.get(`${ids}`)),
        );
        expect(seen?.envelope.sender).toBe(same?.envelope.sender ?? "");
      }
      expect(await one.storage.getInfo()).toMatchObject({ size: 10, bytes: 30 });
    });

    test("what one removes, settles or holds is so for the other at once", async () => {
      const url = server().url(newQueue());
      await using one = await opened(url);
      await using other = await opened(url);
      const lease = { holder: "one", until: now() + MINUTE };
      const [id = "", gone = ""] = await one.storage.write([envelope(), envelope()], 5, { lease });
      await other.storage.setHeld(id, true);
      expect((await one.storage.get(id)).state).toBe("hold");
      await other.storage.setTimestamp(id, 7);
      expect((await one.storage.get(id)).due).toBe(7);
      await other.storage.remove(gone);
      await expect(one.storage.get(gone)).rejects.toThrow("no message");
      await expect(one.storage.settle(gone, ENDED, { holder: "one" })).rejects.toThrow(
        "no message",
      );
      expect(await one.storage.getInfo()).toMatchObject({ size: 1, states: { hold: 1 } });
    });
  });
}

interface Node extends AsyncDisposable {
  readonly storage: QueueStorage;
  now(): number;
}

/** A node whose clock is wrong by so much. */
async function opened(url: string, skewMs = 0): Promise<Node> {
  const world = skewMs === 0 ? realWorld : skewedWorld(skewMs);
  const storage = await openUrl(url, world);
  return { storage, now: world.clock.now, [Symbol.asyncDispose]: () => storage.close() };
}

async function leaseAll(node: Node, holder: string, ttlMs = MINUTE) {
  return await node.storage.lease(node.now(), 9, { holder, until: node.now() + ttlMs });
}

function six() {
  return Array.from({ length: 6 }, () => envelope());
}

/** Processes that lease; `leaseMs` and what they do with it as in node.ts. */
async function startNodes(
  url: string,
  names: readonly string[],
  { leaseMs = MINUTE, mode = "settle" }: { leaseMs?: number; mode?: "settle" | "keep" } = {},
) {
  const all: readonly Child[] = names.map((name) =>
    startChild([process.execPath, NODE, url, name, String(leaseMs), mode]),
  );
  await Promise.all(all.map((child) => child.line(/^ready$/u)));
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    for (const child of all) child.kill(signal);
    await Promise.all(all.map(({ exited }) => exited));
  };
  return {
    /** The ids that they have said this of, in order. */
    said: (word: string): string[] =>
      all
        .flatMap((child) => [...child.output().matchAll(new RegExp(`^${word} (.*)$`, "gmu"))])
        .map(([, id = ""]) => id)
        .toSorted(),
    signal: (signal: NodeJS.Signals): void => {
      for (const child of all) child.kill(signal);
    },
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    async [Symbol.asyncDispose]() {
      for (const child of all) child.kill("SIGCONT");
      await end("SIGKILL");
    },
  };
}
