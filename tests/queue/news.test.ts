import { expect, test } from "bun:test";
import { listen } from "../../src/queue/news.ts";
import { testWorld } from "../storage/fixtures.ts";

type News = Awaited<ReturnType<Parameters<typeof listen>[0]["storage"]["wait"]>>;

/** A storage that answers each `wait` as it is told, and the looks that come of it. */
function listening(signal: AbortSignal) {
  const asked: PromiseWithResolvers<News>[] = [];
  let looks = 0;
  const wait = (): Promise<News> => {
    const answer = Promise.withResolvers<News>();
    asked.push(answer);
    return answer.promise;
  };
  const { clock } = testWorld();
  const onNews = (): void => {
    looks += 1;
  };
  const over = listen({ storage: { wait }, clock, onNews }, signal);
  const answer = async (settle: (latest: PromiseWithResolvers<News>) => void) => {
    const count = asked.length;
    const latest = asked.at(-1);
    if (latest) settle(latest);
    await Promise.race([over, waitUntil(() => asked.length > count)]);
  };
  return { answer, over, looks: () => looks, asked: () => asked.length };
}

async function waitUntil(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

test("every piece of news is a look, also one that names nothing", async () => {
  const stop = new AbortController();
  const { answer, looks, asked } = listening(stop.signal);
  await answer(({ resolve }) => resolve([{ timestamp: 1, id: "a" }]));
  await answer(({ resolve }) => resolve([]));
  expect([looks(), asked()]).toEqual([2, 3]);
});

test("a storage without news is asked once", async () => {
  const { answer, over, looks, asked } = listening(new AbortController().signal);
  await answer(({ resolve }) => resolve(null));
  await over;
  expect([looks(), asked()]).toEqual([0, 1]);
});

test("after a failure it looks, since it may have missed something, and listens again", async () => {
  const { answer, looks, asked } = listening(new AbortController().signal);
  await answer(({ reject }) => reject(new Error("gone")));
  expect([looks(), asked()]).toEqual([1, 2]);
});

test("ends with its signal, also in the middle of a pause", async () => {
  const stop = new AbortController();
  const { clock } = testWorld();
  const never = { ...clock, after: () => () => undefined };
  const storage = { wait: () => Promise.reject(new Error("gone")) };
  const over = listen({ storage, clock: never, onNews: () => undefined }, stop.signal);
  await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await over;
  expect(stop.signal.aborted).toBe(true);
});

test("ends with its signal when that is what makes the wait fail", async () => {
  const stop = new AbortController();
  const { clock } = testWorld();
  const never = { ...clock, after: () => () => undefined };
  const wait = (signal: AbortSignal) =>
    new Promise<News>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  const over = listen({ storage: { wait }, clock: never, onNews: () => undefined }, stop.signal);
  stop.abort();
  await over;
  expect(stop.signal.aborted).toBe(true);
});
