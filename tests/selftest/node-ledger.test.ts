import { expect, test } from "bun:test";
import type { Take } from "../../src/selftest/ledger-receiver.ts";
import { brokenByNodes, excusedByOutages, extended, nodeBalance } from "../soak/node-ledger.ts";

const take = (since: number, at: number, answered = true): Take => ({ since, at, answered });
const taken = (of: Readonly<Record<number, readonly Take[]>>) =>
  new Map(Object.entries(of).map(([number, takes]) => [Number(number), takes]));

test("what is acknowledged and never delivered is lost", () => {
  const found = nodeBalance(
    [1, 2, 3],
    [taken({ 1: [take(0, 1)] }), taken({ 3: [take(0, 1)] })],
    [],
  );
  expect(found).toMatchObject({ acknowledged: 3, delivered: 2, lost: [2], repeated: [] });
  expect(brokenByNodes(found)).toEqual(["1 acknowledged and lost: 2"]);
});

test("two nodes at a time are told from one after the other, whatever the excuse of the second", () => {
  const atOnce = [taken({ 1: [take(10, 20)] }), taken({ 1: [take(15, 30)] })];
  expect(nodeBalance([1], atOnce, []).overlapping).toEqual([1]);
  const inTurn = [taken({ 1: [take(10, 20)] }), taken({ 1: [take(20, 30)] })];
  expect(nodeBalance([1], inTurn, [])).toMatchObject({ overlapping: [], unexcused: [1] });
  const stoodStill = [{ node: 0, from: 12, to: 90 }];
  expect(nodeBalance([1], atOnce, stoodStill)).toMatchObject({ overlapping: [], repeated: [1] });
});

test("only the node that did it before excuses a second delivery", () => {
  const deliveries = [taken({ 7: [take(10, 20)] }), taken({ 7: [take(500, 510)] })];
  const excusedBy = (node: number) => nodeBalance([7], deliveries, [{ node, from: 15, to: 40 }]);
  expect(excusedBy(0).unexcused).toEqual([]);
  expect(excusedBy(1).unexcused).toEqual([7]);
  expect(nodeBalance([7], deliveries, [{ node: 0, from: 21, to: 40 }]).unexcused).toEqual([7]);
  const unheard = [taken({ 7: [take(10, 20, false)] }), taken({ 7: [take(500, 510)] })];
  expect(nodeBalance([7], unheard, []).unexcused).toEqual([]);
});

test("what the store was away for just before a node died was not recorded either", () => {
  const outages = [
    { from: 100, to: 200 },
    { from: 3000, to: 4000 },
  ];
  const died = { node: 0, from: 7000, to: 7001 };
  expect(extended(died, outages)).toEqual({ ...died, from: 100 });
  expect(extended({ ...died, from: 9000 }, outages)).toEqual({ ...died, from: 9000 });
});

test("outages in which no lease could be renewed excuse everybody, shorter ones nobody", () => {
  const outages = [
    { from: 3000, to: 4000 },
    { from: 1000, to: 2000 },
    { from: 20_000, to: 21_000 },
  ];
  expect(excusedByOutages(outages, 2500, 2)).toEqual([
    { node: 0, from: 1000, to: 4000 },
    { node: 1, from: 1000, to: 4000 },
  ]);
  expect(excusedByOutages(outages, 3500, 2)).toEqual([]);
});
