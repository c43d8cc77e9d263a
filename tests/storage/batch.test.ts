import { expect, test } from "bun:test";
import { openBatch } from "../../src/storage/batch.ts";

/** A batch whose steps end when told to; `steps` says what each of them took. */
function held(lanes: number, itemsMax = 10) {
  const steps: (readonly number[])[] = [];
  const ends: (() => void)[] = [];
  const batch = openBatch<number, number>({
    ...{ lanes, itemsMax, weightMax: 1000, weigh: () => 1 },
    async run(items) {
      steps.push(items);
      await new Promise<void>((resolve) => ends.push(resolve));
      return items.map((item) => item * 2);
    },
  });
  const endAll = (): void => {
    for (const end of ends.splice(0)) end();
  };
  return { batch, steps, endAll };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function turns(): Promise<void> {
  for (let count = 0; count < 5; count += 1) await turn();
}

test("what comes in one turn of the event loop, from whatever callback, is one step", async () => {
  const { batch, steps, endAll } = held(2);
  const first = batch.add(1);
  await Promise.resolve();
  const second = batch.add(2);
  await turns();
  expect(steps).toEqual([[1, 2]]);
  endAll();
  expect(await Promise.all([first, second])).toEqual([2, 4]);
});

test("a free lane takes what comes while another step runs; without one it waits and shares the next", async () => {
  const { batch, steps, endAll } = held(2);
  const all = [batch.add(1)];
  await turns();
  all.push(batch.add(2));
  await turns();
  all.push(batch.add(3), batch.add(4));
  await turns();
  expect(steps).toEqual([[1], [2]]);
  endAll();
  await turns();
  expect(steps).toEqual([[1], [2], [3, 4]]);
  endAll();
  expect(await Promise.all(all)).toEqual([2, 4, 6, 8]);
});

test("idle waits for what has not begun yet, and for what did not fit", async () => {
  const { batch, steps, endAll } = held(1, 2);
  const all = [1, 2, 3].map((item) => batch.add(item));
  let isIdle = false;
  const idle = batch.idle().then(() => {
    isIdle = true;
  });
  await turns();
  endAll();
  await turns();
  expect(steps).toEqual([[1, 2], [3]]);
  expect(isIdle).toBe(false);
  endAll();
  await Promise.all([...all, idle]);
  expect(isIdle).toBe(true);
});
