import { expect, test } from "bun:test";
import { QueueError } from "../../src/mail/queue-error.ts";
import {
  CorruptError,
  LostLeaseError,
  NotFoundError,
  type QueueStorage,
} from "../../src/storage/storage.ts";
import { idOf, infoOf } from "../storage/fixtures.ts";
import { type BreakPoint, type TcpFaults, tcpFaults } from "../support/tcp-faults.ts";
import { until } from "../support/until.ts";
import { newQueue, openUrl, type StoreServer } from "./shared-store.ts";
import { type Scene, STEPS, type Step } from "./steps.ts";
import { impatientWorld } from "./worlds.ts";

/** More pieces than any step has: one that goes on and on is a failure of its own. */
const PIECES_MAX = 200;
/** Other connections of the node are there again by then: what they say is no part of the step. */
const QUIET_MS = 15;
/** What waits for time in a node waits so much less here. */
const IMPATIENCE = 10;

/** A queue that is seen by a node behind a network that fails, and by another one that sees the store directly. */
interface Stage extends AsyncDisposable {
  readonly node: QueueStorage;
  readonly witness: QueueStorage;
  readonly faults: TcpFaults;
}

/**
 * What every shared engine promises when the store goes away in the middle of a step, whichever step it is and wherever it
 * is: the queue is as before the step or as after it; the error is one that clients may hear, a temporary one; and who
 * calls again gets what was promised.
 */
export function interruptedContract(name: string, server: () => StoreServer): void {
  for (const step of STEPS) {
    test(`${name}: ${step.name}, when the connection breaks at any point of it`, async () => {
      await using stage = await openStage(server());
      await breakEverywhere(step, stage);
    }, 60_000);
  }

  test(`${name}: a store that says nothing more is given up in time, whatever it is asked`, async () => {
    await using stage = await openStage(server());
    const scenes = await prepared(stage);
    stage.faults.freeze();
    const results = await Promise.allSettled(
      scenes.map(async ({ step, scene }) => await step.run(stage.node, scene)),
    );
    for (const [index, result] of results.entries()) {
      expect(result.status, STEPS[index]?.name).toBe("rejected");
      if (result.status === "rejected") requireTemporary(result.reason);
    }
    expect(stage.node.refusal()).toBeString();
    stage.faults.thaw();
    await allComeToTheirEnd(scenes, stage);
  }, 60_000);

  test(`${name}: a server that is killed with everything under way comes back with everything`, async () => {
    await using stage = await openStage(server());
    const scenes = await prepared(stage);
    const running = scenes.map(async ({ step, scene }) => await step.run(stage.node, scene));
    const settled = Promise.allSettled(running);
    await Promise.race(running.map((each) => each.catch(() => undefined)));
    await server().crash();
    await expect(stage.node.probe()).rejects.toThrow(QueueError);
    await server().restart();
    for (const result of await settled) {
      if (result.status === "rejected") requireTemporary(result.reason);
    }
    await allComeToTheirEnd(scenes, stage);
  }, 60_000);
}

async function openStage(server: StoreServer): Promise<Stage> {
  const queue = newQueue();
  const faults = await tcpFaults(server.port);
  const witness = await openUrl(server.url(queue));
  const node = await openUrl(server.url(queue, faults.port), impatientWorld(IMPATIENCE));
  return {
    node,
    witness,
    faults,
    async [Symbol.asyncDispose]() {
      faults.heal();
      faults.thaw();
      await node.close();
      await witness.close();
      await faults[Symbol.asyncDispose]();
    },
  };
}

/** Does the step again and again, each time on other messages, and breaks off one piece later each time. */
async function breakEverywhere(step: Step, stage: Stage): Promise<void> {
  const { node, witness } = stage;
  const undisturbed = await sceneOf(0, step, stage);
  const before = await seen(witness, undisturbed);
  const answer = await step.run(node, undisturbed);
  const after = await seen(witness, undisturbed);
  expect(step.answer?.(answer) ?? "right").toBe("right");
  let trials = 0;
  for (const point of ["request", "answer"] as const) {
    let hasBroken = true;
    for (let piece = 1; hasBroken; piece += 1) {
      expect(piece).toBeLessThan(PIECES_MAX);
      trials += 1;
      hasBroken = await breakOnce(step, { point, piece }, { stage, trials, before, after });
    }
  }
}

interface Trial {
  readonly stage: Stage;
  readonly trials: number;
  readonly before: unknown;
  readonly after: unknown;
}

/** False: the step was over before it came to that. */
async function breakOnce(
  step: Step,
  { point, piece }: { readonly point: BreakPoint; readonly piece: number },
  { stage, trials, before, after }: Trial,
): Promise<boolean> {
  const { node, witness, faults } = stage;
  const scene = await sceneOf(trials, step, stage);
  expect(await seen(witness, scene)).toEqual(before);
  faults.breakAt(point, piece);
  const error = await failure(() => step.run(node, scene));
  const hasBroken = faults.hasBroken();
  faults.heal();
  const left = await settledState(witness, scene, [before, after]);
  if (error === undefined) expect(left).toEqual(after);
  else requireTemporary(error);
  await again(step, node, scene);
  expect(step.repeated?.(after) ?? [after]).toContainEqual(await seen(witness, scene));
  return hasBroken;
}

async function sceneOf(number: number, step: Step, stage: Stage): Promise<Scene> {
  const { witness, node, faults } = stage;
  const ids = Array.from({ length: 4 }, (_, index) => idOf(number * 10 + index));
  for (const { id } of await witness.list({ limit: 1000 })) await witness.remove(id);
  // A node that has just lost its connections has them again.
  await until("the node works", () =>
    node.probe().then(
      () => true,
      () => false,
    ),
  );
  await step.prepare(witness, { ids, node });
  await faults.quiet(QUIET_MS);
  return { ids, node };
}

/** All that anybody can know of the queue, without the instants that differ from run to run. */
async function seen(storage: QueueStorage, { ids }: Scene): Promise<unknown> {
  const listed = await storage.list({ limit: 1000 });
  const messages = await Promise.all(
    listed.map(async ({ id, ...summary }) => {
      const { envelope, lease, ...message } = await storage.get(id);
      const { content, ...facts } = envelope;
      const bytes = new Bun.CryptoHasher("sha256");
      bytes.update(content.prefix);
      if (content.body.kind === "bytes") bytes.update(content.body.bytes);
      else for await (const chunk of content.body.stream()) bytes.update(chunk);
      const own = { ...message, ...summary, envelope: facts, holder: lease?.holder };
      return {
        ...own,
        id: ids.indexOf(id),
        due: dateless(summary.due),
        bytes: bytes.digest("hex"),
      };
    }),
  );
  return { messages, info: await infoOf(storage) };
}

/** Instants of tests are small; what is the time of day is now. */
function dateless(instant: number): number | "now" {
  return instant > 1e12 ? "now" : instant;
}

/** What a server does with a request whose client is gone it does soon, and not at once. */
async function settledState(
  witness: QueueStorage,
  scene: Scene,
  allowed: readonly unknown[],
): Promise<unknown> {
  const state = await until(
    "the queue is as before or as after",
    async () => {
      const found = await seen(witness, scene);
      return allowed.some((each) => Bun.deepEquals(each, found)) && found;
    },
    5000,
  ).catch(() => undefined);
  if (state !== undefined) return state;
  const found = await seen(witness, scene);
  expect(allowed).toContainEqual(found);
  return found;
}

/** Calls until it works, or until there is nothing left to do, as whoever was promised something does. */
async function again(step: Step, node: QueueStorage, scene: Scene): Promise<void> {
  await until(`${step.name} works`, async () => {
    const error = await failure(() => (step.retry ?? step.run)(node, scene));
    if (error !== undefined && !isFinal(error)) requireTemporary(error);
    return error === undefined || isFinal(error);
  });
}

/** A scene for every step, none of which is about the messages of another. */
export async function prepared(stage: Pick<Stage, "node" | "witness">) {
  return await Promise.all(
    STEPS.map(async (step, index) => {
      const ids = Array.from({ length: 4 }, (_, place) => idOf(index * 10 + place));
      const scene = { ids, node: stage.node };
      await step.prepare(stage.witness, scene);
      return { step, scene };
    }),
  );
}

/** Each step is done again by who asked for it; nothing of the queue is damaged, and all of it can be ended. */
export async function allComeToTheirEnd(
  scenes: Awaited<ReturnType<typeof prepared>>,
  { node, witness }: Pick<Stage, "node" | "witness">,
): Promise<void> {
  for (const { step, scene } of scenes) await again(step, node, scene);
  await until("mail is taken", () => node.refusal() === undefined);
  const { size, corrupt } = await witness.getInfo();
  expect(corrupt).toBe(0);
  const all = await witness.list({ limit: 1000 });
  expect(all).toHaveLength(size);
  for (const { id } of all) await witness.get(id);
  for (const { id } of all) await witness.remove(id);
  expect(await node.getInfo()).toMatchObject({ size: 0, bytes: 0 });
}

async function failure(work: () => Promise<unknown>): Promise<unknown> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Another call has done it, or somebody else has taken over. */
function isFinal(error: unknown): boolean {
  return error instanceof NotFoundError || error instanceof LostLeaseError;
}

/** What a client may hear of it: come again later. */
export function requireTemporary(error: unknown): void {
  expect(error).toBeInstanceOf(QueueError);
  expect(error).not.toBeInstanceOf(CorruptError);
  expect(isFinal(error)).toBe(false);
  const code = (error as QueueError).reply?.code ?? 451;
  expect(Math.floor(code / 100)).toBe(4);
}
