import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { base32, derivedId, ID_PATTERN, idMaker } from "../../src/lib/id.ts";

/** Times that stand still, jump and step back. */
const times = fc.array(fc.integer({ min: 0, max: 2 ** 44 }), { minLength: 2 });
const dice = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe("idMaker", () => {
  test("every id is greater than the one before, whatever the clock and the dice do", () => {
    fc.assert(
      fc.property(times, fc.array(dice, { minLength: 1 }), (clock, rolls) => {
        let [tick, roll] = [0, 0];
        const make = idMaker(
          () => clock[tick++ % clock.length] ?? 0,
          () => rolls[roll++ % rolls.length] ?? 0,
        );
        const ids = clock.map(make);
        expect(ids.every((id) => ID_PATTERN.test(id))).toBe(true);
        expect(ids).toEqual(ids.toSorted());
        expect(new Set(ids).size).toBe(ids.length);
      }),
      { examples: [[[0, 0], [0]]] },
    );
  });

  test("ids of a later millisecond sort later, whoever made them", () => {
    const early = idMaker(
      () => 1_900_000_000_000,
      () => 0.999_999,
    )();
    const late = idMaker(
      () => 1_900_000_000_001,
      () => 0,
    )();
    expect(early < late).toBe(true);
  });

  test("two makers in one millisecond differ by their dice", () => {
    const one = idMaker(
      () => 5,
      () => 0.1,
    );
    const other = idMaker(
      () => 5,
      () => 0.2,
    );
    expect(one()).not.toBe(other());
  });

  test("a million ids in one millisecond stay in order", () => {
    const make = idMaker(
      () => 5,
      () => 0.999_999_999,
    );
    let last = make();
    for (let count = 0; count < 1_000_000; count += 1) {
      const id = make();
      if (id <= last) throw new Error(`${id} after ${last}`);
      last = id;
    }
    expect(last).toMatch(ID_PATTERN);
  });
});

describe("derivedId", () => {
  const parent = idMaker(
    () => 1_900_000_000_000,
    () => 0.5,
  )();

  test("is stable, looks like an id and keeps the time of its parent", () => {
    const id = derivedId(parent, [parent, "failed", "0"]);
    expect(id).toBe(derivedId(parent, [parent, "failed", "0"]));
    expect(id).toMatch(ID_PATTERN);
    expect(id.slice(0, 9)).toBe(parent.slice(0, 9));
  });

  test("differs with any part, and with where one part ends", () => {
    const ids = [["a", "b"], ["ab"], ["a", "b", ""], ["b", "a"], ["a", "c"]].map((parts) =>
      derivedId(parent, parts),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });
});

test("base32 is fixed in width and in order", () => {
  expect(base32(0, 3)).toBe("000");
  expect(base32(32 ** 3 - 1, 3)).toBe("ZZZ");
  expect(base32(33, 3)).toBe("011");
});
