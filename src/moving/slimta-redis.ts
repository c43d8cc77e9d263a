import type { Clock } from "../lib/world.ts";
import type { Connection } from "../storage/redis/connection.ts";
import { type Imported, type ImportItem, type ImportSource, NotImported } from "./imported.ts";
import { instantOf, readSlimtaDelivered, readSlimtaEnvelope } from "./slimta-envelope.ts";
import { slimtaMessage } from "./slimta-message.ts";

export interface SlimtaRedisOptions {
  readonly name: string;
  readonly connection: Pick<Connection, "command" | "commandForBytes">;
  /** What the names of the parent's keys begin with. */
  readonly prefix: string;
  readonly clock: Clock;
}

/** Keys that one step of the walk looks at. */
const SCAN_COUNT = 500;
const FIELDS = ["envelope", "timestamp", "attempts", "delivered_indexes"];

/**
 * The parent's Redis engine: a hash for each message. The list `queue` beside them only tells of new ones, and is left as
 * it is. A hash without an envelope is what the parent leaves of mail that ended while it was being changed.
 */
export function slimtaRedis(options: SlimtaRedisOptions): ImportSource {
  return {
    name: options.name,
    async *items() {
      // A walk may come by a key twice.
      const seen = new Set([`${options.prefix}queue`]);
      for await (const key of keysOf(options)) {
        if (seen.has(key)) continue;
        seen.add(key);
        yield itemOf(key, options);
      }
    },
  };
}

async function* keysOf({ connection, prefix }: SlimtaRedisOptions): AsyncGenerator<string> {
  const pattern = `${prefix.replace(/[*?[\]\\]/gu, "\\$&")}*`;
  let cursor = "0";
  do {
    const args = [cursor, "MATCH", pattern, "COUNT", SCAN_COUNT];
    const [next, keys] = (await connection.command("scan", args)) as [string, string[]];
    yield* keys;
    cursor = next;
  } while (cursor !== "0");
}

function itemOf(key: string, options: SlimtaRedisOptions): ImportItem {
  const { connection, prefix } = options;
  return {
    name: key.slice(prefix.length),
    size: async () => Number(await connection.command("hstrlen", [key, "envelope"])),
    read: () => read(key, options),
    async remove() {
      await connection.command("del", [key]);
    },
  };
}

async function read(
  key: string,
  { connection, prefix, clock }: SlimtaRedisOptions,
): Promise<Imported | undefined> {
  const [envelope, timestamp, attempts, delivered] = await fieldsOf(key, connection);
  if (envelope === null || envelope === undefined) return undefined;
  const read = readSlimtaEnvelope(envelope);
  const due = instantOf(numberOf(timestamp));
  const marks = marksOf(delivered);
  const meta = {
    due: due ?? clock.now(),
    attempts: numberOf(attempts) ?? 0,
    delivered: marks ?? [],
  };
  const freight = slimtaMessage(key.slice(prefix.length), read, meta);
  if (freight === undefined) return undefined;
  const notes = [
    ...(due === undefined ? ["its next attempt is not known: it is due now"] : []),
    ...(marks === undefined ? ["its delivered_indexes cannot be read: everybody gets it"] : []),
  ];
  return notes.length === 0 ? { freight } : { freight, note: notes.join("; ") };
}

async function fieldsOf(
  key: string,
  connection: SlimtaRedisOptions["connection"],
): Promise<readonly (Uint8Array | null)[]> {
  try {
    return (await connection.commandForBytes("hmget", [key, ...FIELDS])) as (Uint8Array | null)[];
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith("WRONGTYPE")) {
      throw new NotImported(`the key ${key} is no hash`, { reason: "skipped", cause });
    }
    throw cause;
  }
}

function numberOf(bytes: Uint8Array | null | undefined): number | undefined {
  if (bytes === null || bytes === undefined) return undefined;
  const text = new TextDecoder().decode(bytes);
  const number = Number(text);
  return text.trim() !== "" && Number.isFinite(number) ? number : undefined;
}

/** `undefined`: they cannot be read. */
function marksOf(bytes: Uint8Array | null | undefined): readonly number[] | undefined {
  if (bytes === null || bytes === undefined || bytes.length === 0) return [];
  try {
    return readSlimtaDelivered(bytes);
  } catch (error) {
    if (error instanceof NotImported) return undefined;
    throw error;
  }
}
