import type { ReservedSQL } from "bun";
import type { Emit } from "../../observe/events.ts";
import { StoreConfigError } from "../store-config-error.ts";

/** xid8 and `pg_xact_status` of it. */
const VERSION_MIN = 130_000;

/** What a setting must not be, and what comes of it. */
const UNSAFE: readonly (readonly [
  name: string,
  isSafe: (value: string) => boolean,
  why: string,
])[] = [
  ["fsync", (value) => value === "on", "nothing survives a power cut for certain"],
  ["full_page_writes", (value) => value === "on", "a power cut may tear pages"],
  [
    "synchronous_commit",
    (value) => value !== "off",
    "a commit is answered before it is on the disk",
  ],
];

/** Throws when the server cannot keep what is promised with a `250` (P1); with `isWarningEnough` it is warned of. */
export async function requireDurable(
  connection: ReservedSQL,
  isWarningEnough: boolean,
  emit: Emit,
): Promise<void> {
  const names = UNSAFE.map(([name]) => `current_setting('${name}') AS ${name}`);
  const [settings] = await connection.unsafe(
    `SELECT ${names.join(", ")}, current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding, current_setting('transaction_read_only') AS "readOnly"`,
  );
  const { version, encoding, readOnly } = settings;
  if (version < VERSION_MIN) throw new StoreConfigError("PostgreSQL 13 or later is needed");
  if (encoding !== "UTF8") {
    throw new StoreConfigError(`the database's encoding is ${encoding}; UTF8 is needed`);
  }
  if (readOnly === "on") {
    throw new StoreConfigError(
      "the database is read-only: perhaps it is a standby, not the primary",
    );
  }
  const unsafe = UNSAFE.filter(([name, isSafe]) => !isSafe(settings[name]));
  if (unsafe.length === 0) return;
  const text = unsafe.map(([name, , why]) => `${name} is ${settings[name]}: ${why}`).join("; ");
  if (!isWarningEnough) {
    throw new StoreConfigError(
      `mail that was accepted could be lost: ${text} (?durability=warn takes the risk)`,
    );
  }
  emit({ kind: "lifecycle", what: "warning", text: `mail that was accepted can be lost: ${text}` });
}
