import fc from "fast-check";
import type { QueueStorage } from "../../src/storage/storage.ts";
import { envelope, idOf, type TestWorld } from "./fixtures.ts";

/** Anything that may be done to a store, as data. */
export type Operation =
  | {
      readonly kind: "write";
      readonly ids: readonly number[];
      readonly due: number;
      readonly leased: boolean;
    }
  | {
      readonly kind: "lease";
      readonly limit: number;
      readonly skip: number;
      readonly timelyOnly: boolean;
    }
  | {
      readonly kind: "settle";
      readonly id: number;
      readonly holder: boolean;
      readonly ends: readonly number[];
      readonly due: number | undefined;
      readonly bounce: number | undefined;
    }
  | {
      readonly kind: "remove" | "hold" | "free" | "count" | "release" | "renew";
      readonly id: number;
    }
  | { readonly kind: "reschedule"; readonly id: number; readonly due: number }
  | { readonly kind: "flush" }
  | { readonly kind: "wait"; readonly ms: number };

const IDS = 8;
const LEASE_MS = 1000;
const DOMAINS = ["a.example", "b.example", "c.example"];
const HOLDER = "holder";

const id = fc.nat({ max: IDS - 1 });
const due = fc.integer({ min: -2000, max: 2000 });

export const operations: fc.Arbitrary<readonly Operation[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("write" as const),
        ids: fc.uniqueArray(id, { minLength: 1, maxLength: 3 }),
        due,
        leased: fc.boolean(),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant("lease" as const),
        limit: fc.nat({ max: 4 }),
        skip: fc.nat({ max: 7 }),
        timelyOnly: fc.boolean(),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("settle" as const),
        id,
        holder: fc.boolean(),
        ends: fc.subarray([0, 1, 2, 7]),
        due: fc.option(due, { nil: undefined }),
        bounce: fc.option(id, { nil: undefined }),
      }),
    },
    fc.record({ kind: fc.constantFrom("remove", "hold", "free", "count", "release", "renew"), id }),
    fc.record({ kind: fc.constant("reschedule" as const), id, due }),
    fc.constant({ kind: "flush" as const }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 500, 1500) }),
  ),
  { maxLength: 25 },
);

/** Does one operation and resolves with what came of it: a value, or the name of the error. */
export async function perform(
  storage: QueueStorage,
  operation: Operation,
  world: TestWorld,
): Promise<unknown> {
  try {
    return await attempt(storage, operation, world);
  } catch (error) {
    return error instanceof Error ? error.name : error;
  }
}

async function attempt(storage: QueueStorage, operation: Operation, world: TestWorld) {
  const now = world.clock.now();
  const until = now + LEASE_MS;
  switch (operation.kind) {
    case "write": {
      const { ids, leased } = operation;
      const options = { ids: ids.map(idOf), ...(leased && { lease: { holder: HOLDER, until } }) };
      return await storage.write(ids.map(envelopeOf), now + operation.due, options);
    }
    case "lease": {
      const skipped = DOMAINS.filter((_, index) => (operation.skip >> index) & 1);
      const { limit, timelyOnly } = operation;
      const skip = (domain: string) => skipped.includes(domain);
      const leases = await storage.lease(now, limit, { holder: HOLDER, until, skip, timelyOnly });
      return leases.length;
    }
    case "settle": {
      const { holder, ends, bounce } = operation;
      const settlement = {
        attempts: 1,
        recipients: ends.map((index) => ({ index, status: "delivered" as const })),
        ...(operation.due !== undefined && { due: now + operation.due }),
      };
      const bounces =
        bounce === undefined ? [] : [{ id: `${idOf(bounce)}B`, envelope: envelopeOf(bounce) }];
      return await storage.settle(idOf(operation.id), settlement, {
        ...(holder && { holder: HOLDER }),
        bounces,
      });
    }
    case "remove":
      return await storage.remove(idOf(operation.id));
    case "hold":
      return await storage.setHeld(idOf(operation.id), true);
    case "free":
      return await storage.setHeld(idOf(operation.id), false);
    case "count":
      return await storage.incrementAttempts(idOf(operation.id));
    case "release":
      return await storage.release([idOf(operation.id)], HOLDER);
    case "renew":
      return await storage.renew([idOf(operation.id)], HOLDER, until);
    case "reschedule":
      return await storage.setTimestamp(idOf(operation.id), now + operation.due);
    case "flush":
      return await storage.flush();
    case "wait":
      return world.advance(operation.ms);
  }
}

function envelopeOf(number: number) {
  const domain = DOMAINS[number % DOMAINS.length];
  const to = [`x@${domain}`, `y@${DOMAINS[0]}`, `z@${domain}`].slice(0, 1 + (number % 3));
  return envelope({ to, text: `Subject: ${number}\r\n\r\n${"x".repeat(number * 10)}\r\n` });
}
