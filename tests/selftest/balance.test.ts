import { describe, expect, test } from "bun:test";
import { balance, brokenPromises, excusedMs, isSettled } from "../../src/selftest/balance.ts";
import type { Take } from "../../src/selftest/ledger-receiver.ts";

interface Story {
  /** Numbers that were acknowledged; 1 unless said. */
  readonly acknowledged?: readonly number[];
  /** Instants at which 1 was taken over; negative: nobody could read the answer. */
  readonly taken?: readonly number[];
  readonly bounced?: readonly number[];
  readonly rejected?: readonly number[];
  readonly damaged?: readonly string[];
  /** Instants of kills, each with a window of 100 ms. */
  readonly kills?: readonly number[];
}

function take(at: number): Take {
  return { at: Math.abs(at), since: Math.abs(at) - 10, answered: at > 0 };
}

function books({ taken = [], bounced = [], rejected = [], damaged = [] }: Story) {
  const ledger = (instants: readonly number[]) => {
    return new Map(instants.length === 0 ? [] : [[1, instants.map(take)]]);
  };
  return {
    taken: ledger(taken),
    bounced: ledger(bounced),
    rejected: new Set(rejected),
    damaged,
  };
}

function promisesBrokenBy(story: Story): readonly string[] {
  const { acknowledged = [1], kills = [] } = story;
  const client = { acknowledged: new Map(acknowledged.map((number) => [number, 0])) };
  const crashes = kills.map((from) => ({ from, to: from + 5, windowMs: 100 }));
  return brokenPromises(balance(client, [books(story)], crashes)).map(({ promise }) => promise);
}

describe("the ledger", () => {
  const cases: readonly (readonly [string, Story, readonly string[]])[] = [
    ["balances with one delivery", { taken: [1000] }, []],
    ["balances with one bounce of a rejection", { bounced: [1000], rejected: [1] }, []],
    ["balances when what nobody acknowledged comes, too", { acknowledged: [], taken: [1000] }, []],
    ["misses what never came", {}, ["P1, P5"]],
    ["takes no second delivery", { taken: [1000, 1050] }, ["P5"]],
    ["takes one right before a kill again", { taken: [1000, 1500], kills: [1099] }, []],
    ["takes none before the window of the kill", { taken: [1000, 1500], kills: [1100] }, ["P5"]],
    ["takes none after the kill", { taken: [1000, 1500], kills: [900] }, ["P5"]],
    ["excuses one kill at a time", { taken: [1000, 1500, 1600], kills: [1050] }, ["P5"]],
    ["excuses each by its own", { taken: [1000, 1500, 1600], kills: [1050, 1550] }, []],
    ["excuses what no answer was read of", { taken: [-1000, 1500] }, []],
    // Read by a host that hung, long after the sender was gone.
    ["excuses a kill in the middle", { taken: [1000, 1500], kills: [995] }, []],
    [
      "excuses what was asked for while the killed one was dying",
      { taken: [1000, 1500], kills: [986] },
      [],
    ],
    [
      "lets a bounce follow an excused delivery",
      { taken: [-1000], bounced: [1500], rejected: [1] },
      [],
    ],
    ["lets no bounce follow a delivery", { taken: [1000], bounced: [1500], rejected: [1] }, ["P5"]],
    [
      "lets no delivery follow a bounce",
      { taken: [-1600], bounced: [1500], rejected: [1] },
      ["P5"],
    ],
    ["takes no second bounce", { bounced: [1000, 2000], rejected: [1] }, ["P5"]],
    ["takes no bounce without a rejection", { bounced: [1000] }, ["P4"]],
    ["takes nothing that was changed", { taken: [1000], damaged: ["1"] }, ["P1"]],
  ];
  for (const [name, story, broken] of cases) {
    test(name, () => expect(promisesBrokenBy(story)).toEqual([...broken]));
  }

  test("counts what was acknowledged, and adds up over several hops", () => {
    const client = { acknowledged: new Map([1, 2, 3].map((number) => [number, 0])) };
    const first = { ...books({}), taken: new Map([[1, [take(5)]]]) };
    const second = {
      ...books({}),
      taken: new Map([[9, [take(5)]]]),
      bounced: new Map([[2, [take(6)]]]),
    };
    const found = balance(client, [first, second], []);
    expect(found).toMatchObject({ acknowledged: 3, delivered: 1, bounced: 1, lost: [3] });
    expect(isSettled(client, [first, second])).toBe(false);
    client.acknowledged.delete(3);
    expect(isSettled(client, [first, second])).toBe(true);
  });

  test("names some of many, and says how long before the kill", () => {
    const client = { acknowledged: new Map([1, 2, 3, 4, 5, 6, 7].map((number) => [number, 0])) };
    const [lost] = brokenPromises(balance(client, [books({})], []));
    expect(lost?.text).toBe("7 acknowledged and lost: 1, 2, 3, 4, 5 ...");
    const one = { acknowledged: new Map([[1, 0]]) };
    const twice = books({ taken: [1000, 2000] });
    const [repeated] = brokenPromises(
      balance(one, [twice], [{ from: 1300, to: 1310, windowMs: 100 }]),
    );
    expect(repeated?.text).toBe("1 repeated outside the window: 1 (300 ms)");
  });

  test("the window grows with the disk's syncs", () => {
    expect(excusedMs(20, 0)).toBe(300);
    expect(excusedMs(20, 50)).toBe(400);
  });
});
