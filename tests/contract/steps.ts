import { bodyContent } from "../../src/mail/content.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { bytesOf, collect, envelope } from "../storage/fixtures.ts";

/** Messages of one trial, and who does the step. */
export interface Scene {
  readonly ids: readonly string[];
  readonly node: QueueStorage;
}

/** Something that is asked of a store, with all that it takes to ask for it. */
export interface Step {
  readonly name: string;
  /** Undisturbed, by somebody else. */
  prepare(witness: QueueStorage, scene: Scene): Promise<unknown>;
  run(node: QueueStorage, scene: Scene): Promise<unknown>;
  /** How to ask again, when not by the same call. */
  retry?(node: QueueStorage, scene: Scene): Promise<unknown>;
  /** What an undisturbed run answers: "right", or what is wrong. */
  answer?(answer: unknown): string;
  /** What the queue may look like after the step was done more than once; as after one by default. */
  repeated?(after: unknown): readonly unknown[];
}

const HOLDER = "node";
const LARGE_BYTES = 600_000;
const DAY_MS = 86_400_000;

const until = (): number => Date.now() + DAY_MS;
const first = ({ ids }: Scene): string => ids[0] ?? "";
const right = (isRight: boolean): string => (isRight ? "right" : "wrong");

const small = (witness: QueueStorage, scene: Scene) =>
  witness.write([envelope({ to: ["a@x.example", "b@y.example"] })], 5, { ids: [first(scene)] });
const leased = async (witness: QueueStorage, scene: Scene): Promise<void> => {
  const lease = { holder: HOLDER, until: until() };
  const made = envelope({ to: ["a@x.example", "b@y.example"] });
  await witness.write([made], 5, { ids: [first(scene)], lease });
};
const large = async (storage: QueueStorage, scene: Scene): Promise<void> => {
  const sink = await storage.openBody();
  try {
    await sink.write(new Uint8Array(LARGE_BYTES).fill(7));
    const content = bodyContent(await sink.end());
    await storage.write([envelope({ content })], 5, { ids: [first(scene)] });
  } finally {
    await sink.discard();
  }
};
const nothing = async (): Promise<void> => undefined;

/** Attempts may have been counted by the call whose answer was lost. */
function countedTwice(after: unknown): readonly unknown[] {
  const { messages, info } = after as { messages: readonly { attempts: number }[]; info: unknown };
  const twice = messages.map((each) => ({ ...each, attempts: each.attempts + 1 }));
  return [after, { messages: twice, info }];
}

/** Every verb of a store. */
export const STEPS: readonly Step[] = [
  {
    name: "write of three, one of them leased in the end by nobody",
    prepare: nothing,
    run: (node, { ids }) =>
      node.write([envelope(), envelope({ text: "other" }), envelope()], 5, {
        ids: ids.slice(0, 3),
      }),
  },
  {
    name: "write with a lease",
    prepare: nothing,
    run: (node, scene) => {
      const lease = { holder: HOLDER, until: until() };
      return node.write([envelope()], 5, { ids: [first(scene)], lease });
    },
  },
  {
    name: "write of what nobody else has, with a lease",
    prepare: nothing,
    run: (node, scene) => {
      const lease = { holder: HOLDER, until: until() };
      return node.write([envelope()], 5, { ids: [first(scene)], fresh: true, lease });
    },
    retry: (node, scene) => {
      const lease = { holder: HOLDER, until: until() };
      return node.write([envelope()], 5, { ids: [first(scene)], lease });
    },
  },
  { name: "write of a streamed body", prepare: nothing, run: large },
  {
    name: "settle, somebody pending",
    prepare: leased,
    run: (node, scene) =>
      node.settle(
        first(scene),
        { attempts: 1, due: 9, recipients: [{ index: 0, status: "delivered" }] },
        { holder: HOLDER },
      ),
  },
  {
    name: "settle with a bounce, nobody pending",
    prepare: leased,
    run: (node, scene) =>
      node.settle(
        first(scene),
        { recipients: [0, 1].map((index) => ({ index, status: "bounced" as const })) },
        {
          holder: HOLDER,
          bounces: [{ id: scene.ids[1] ?? "", envelope: envelope({ sender: "" }) }],
        },
      ),
  },
  {
    name: "settle by an operator",
    prepare: small,
    run: (node, scene) =>
      node.settle(first(scene), { recipients: [{ index: 1, status: "dropped" }] }),
  },
  {
    name: "setTimestamp",
    prepare: small,
    run: (node, scene) => node.setTimestamp(first(scene), 77),
  },
  {
    name: "incrementAttempts",
    prepare: small,
    run: (node, scene) => node.incrementAttempts(first(scene)),
    answer: (count) => right(count === 1),
    repeated: countedTwice,
  },
  {
    name: "setRecipientsDelivered",
    prepare: small,
    run: (node, scene) => node.setRecipientsDelivered(first(scene), [0]),
  },
  {
    name: "load",
    prepare: small,
    run: (node) => collect(node.load()),
    answer: (all) => right((all as readonly unknown[]).length === 1),
  },
  {
    name: "get",
    prepare: small,
    run: (node, scene) => node.get(first(scene)),
  },
  {
    name: "get and read of a large body",
    prepare: large,
    run: async (node, scene) => {
      const { content } = (await node.get(first(scene))).envelope;
      return (await bytesOf(content)).length;
    },
    answer: (size) => right(size === LARGE_BYTES),
  },
  { name: "remove", prepare: small, run: (node, scene) => node.remove(first(scene)) },
  {
    name: "remove of a large body",
    prepare: large,
    run: (node, scene) => node.remove(first(scene)),
  },
  {
    name: "lease",
    prepare: small,
    run: (node) => node.lease(Date.now(), 9, { holder: HOLDER, until: until() }),
    answer: (leases) => right((leases as readonly unknown[]).length === 1),
  },
  {
    name: "renew",
    prepare: leased,
    run: (node, scene) => node.renew([first(scene)], HOLDER, until()),
  },
  {
    name: "release",
    prepare: leased,
    run: (node, scene) => node.release([first(scene)], HOLDER),
  },
  { name: "nextDue", prepare: small, run: (node) => node.nextDue() },
  {
    name: "flush",
    prepare: small,
    run: (node) => node.flush(),
    answer: (count) => right(count === 1),
  },
  {
    name: "setHeld",
    prepare: small,
    run: (node, scene) => node.setHeld(first(scene), true),
    answer: (isNews) => right(isNews === true),
  },
  { name: "list", prepare: small, run: (node) => node.list({ limit: 9 }) },
  { name: "getInfo", prepare: small, run: (node) => node.getInfo() },
  { name: "probe", prepare: nothing, run: (node) => node.probe() },
];
