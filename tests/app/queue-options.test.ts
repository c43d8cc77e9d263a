import { expect, test } from "bun:test";
import { stockConfig } from "../../src/app/library/stock.ts";
import { queueOptions } from "../../src/app/queue-options.ts";

function windowOf(spool: object, queue: object = {}): number {
  return queueOptions(stockConfig({ spool, queue })).waitingPerDestinationMax;
}

test("a node that shares its queue leaves the others something to do", () => {
  expect(windowOf({})).toBe(1000);
  expect(windowOf({ url: "memory:" })).toBe(1000);
  for (const url of ["redis://store.example", "postgres://store.example/queue"]) {
    expect(windowOf({ url })).toBe(100);
    expect(windowOf({ url }, { per_destination_max: 50 })).toBe(250);
    expect(windowOf({ url }, { per_destination_max: 50, deliveries_max: 10 })).toBe(50);
    expect(windowOf({ url }, { window_per_destination: 30 })).toBe(30);
  }
});
