import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { QueueError } from "../../src/mail/queue-error.ts";
import { tempDir } from "../support/temp-dir.ts";
import { below, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";
import { check, endedOf, type Known, live, type Template, templates } from "./support/spools.ts";

let spools: readonly Template[] = [];
const dir = tempDir("fuzz-db");
beforeAll(async () => {
  spools = await templates(dir);
});
afterAll(() => dir[Symbol.asyncDispose]());

type Dice = () => number;
type Harm = (spool: string, random: Dice) => string;

const PAGE = 4096;

function onFile(
  suffix: string,
  what: string,
  change: (bytes: Uint8Array, random: Dice) => Uint8Array,
): Harm {
  return (spool, random) => {
    const path = `${spool}/queue.db${suffix}`;
    if (!fs.statSync(path, { throwIfNoEntry: false })?.isFile()) return "nothing";
    fs.writeFileSync(path, change(new Uint8Array(fs.readFileSync(path)), random));
    return `queue.db${suffix}: ${what}`;
  };
}

const flip = (bytes: Uint8Array, random: Dice) => {
  const at = below(random, bytes.length);
  bytes[at] = (bytes[at] ?? 0) ^ (1 << below(random, 8));
  return bytes;
};
const flipHead = (bytes: Uint8Array, random: Dice) => {
  const at = below(random, Math.min(100, bytes.length));
  bytes[at] = below(random, 256);
  return bytes;
};
const cut = (bytes: Uint8Array, random: Dice) => bytes.slice(0, below(random, bytes.length + 1));
const zeroPage = (bytes: Uint8Array, random: Dice) => {
  const at = PAGE * below(random, Math.ceil(bytes.length / PAGE));
  return bytes.fill(0, at, at + PAGE);
};
const copyPage = (bytes: Uint8Array, random: Dice) => {
  const [from, to] = [0, 0].map(
    () => PAGE * below(random, Math.max(1, Math.floor(bytes.length / PAGE))),
  );
  return bytes.copyWithin(to ?? 0, from ?? 0, (from ?? 0) + PAGE);
};
const chance = (bytes: Uint8Array, random: Dice) => bytes.map(() => below(random, 256));

/** Damage of bytes: what a disk does. */
const BYTES: readonly Harm[] = ["", "-wal", "-shm"].flatMap((suffix) => [
  onFile(suffix, "a bit flipped", flip),
  onFile(suffix, "its header changed", flipHead),
  onFile(suffix, "cut", cut),
  onFile(suffix, "a page of zeros", zeroPage),
  onFile(suffix, "a page copied over another", copyPage),
  onFile(suffix, "chance", chance),
  (spool: string) => {
    fs.rmSync(`${spool}/queue.db${suffix}`, { force: true, recursive: true });
    return `queue.db${suffix} removed`;
  },
  (spool: string) => {
    fs.rmSync(`${spool}/queue.db${suffix}`, { force: true, recursive: true });
    fs.mkdirSync(`${spool}/queue.db${suffix}/below`, { recursive: true });
    return `queue.db${suffix} is a directory`;
  },
  (spool: string, random: Dice) => {
    const other = `${pick(random, spools).directory}/queue.db${suffix}`;
    fs.rmSync(`${spool}/queue.db${suffix}`, { force: true, recursive: true });
    if (fs.existsSync(other)) fs.cpSync(other, `${spool}/queue.db${suffix}`, { recursive: true });
    return `queue.db${suffix} of another spool`;
  },
]);

const VALUES = [
  "NULL",
  "'text'",
  "''",
  "-1",
  "0",
  "1",
  "9007199254740993",
  "9223372036854775807",
  "-9223372036854775808",
  "1.5",
  "x'00ff'",
  "1e300",
  "'{}'",
  "'['",
  "'null'",
  "'{\"recipients\":{}}'",
  '\'{"delayNotified":true,"recipients":[{"index":"0","status":"delivered"}]}\'',
  '\'{"delayNotified":false,"recipients":[null]}\'',
  "'__proto__'",
  "'../../../etc/passwd'",
  "1099511627776",
  "2199023255552",
  "2199023255553",
];
const COLUMNS = [
  "epoch",
  "due",
  "domain",
  "segment",
  "offset",
  "length",
  "size",
  "attempts",
  "received_at",
  "sender",
  "recipients",
  "state",
];

/** Whatever holds in a table that has lost its constraints: as if bits had been flipped where SQLite does not look. */
function loosened(spool: string, work: (db: Database) => void): void {
  const path = `${spool}/queue.db`;
  if (!fs.statSync(path, { throwIfNoEntry: false })?.isFile()) return;
  const db = new Database(path);
  try {
    const found = db.query("SELECT sql FROM sqlite_schema WHERE name = 'message'").get() as {
      sql: string;
    } | null;
    if (found === null) return;
    db.run("ALTER TABLE message RENAME TO tight");
    db.run(found.sql.replaceAll(" NOT NULL", ""));
    db.run("INSERT INTO message SELECT * FROM tight");
    db.run("DROP TABLE tight");
    db.run("CREATE INDEX message_by_due ON message (epoch, due)");
    db.run("CREATE INDEX message_by_domain ON message (domain, epoch, due)");
    work(db);
  } catch (error) {
    // Other harm was there before, or the row is there already.
    if (!(error instanceof Error && error.name === "SQLiteError")) throw error;
  } finally {
    db.close();
  }
}

const sql =
  (make: (random: Dice) => string): Harm =>
  (spool, random) => {
    const statement = make(random);
    loosened(spool, (db) => db.run(statement));
    return statement;
  };
const oneRow = (random: Dice) =>
  `(SELECT id FROM message ORDER BY id LIMIT 1 OFFSET ${below(random, 12)})`;

/** Damage of meaning: rows that SQLite is content with. */
const ROWS: readonly Harm[] = [
  ...COLUMNS.map((column) =>
    sql(
      (random) =>
        `UPDATE message SET ${column} = ${pick(random, VALUES)} WHERE id = ${oneRow(random)}`,
    ),
  ),
  sql((random) => `UPDATE message SET ${pick(random, COLUMNS)} = ${pick(random, VALUES)}`),
  sql(
    (random) =>
      `UPDATE message SET offset = offset + ${below(random, 100)}, length = length + ${below(random, 3)} WHERE id = ${oneRow(random)}`,
  ),
  sql(
    (random) =>
      `UPDATE message SET segment = (SELECT segment FROM message WHERE id = ${oneRow(random)}) WHERE id = ${oneRow(random)}`,
  ),
  sql(
    (random) =>
      `UPDATE meta SET value = ${pick(random, VALUES)} WHERE key = '${pick(random, ["epoch", "corrupt", "incoming", "deferred", "hold", "bytes"])}'`,
  ),
  sql(
    (random) =>
      `UPDATE segment SET ${pick(random, ["live", "live_bytes", "bytes"])} = ${pick(random, VALUES)}`,
  ),
  sql(
    (random) =>
      `INSERT INTO message SELECT ${pick(random, VALUES)}, ${COLUMNS.join(", ")} FROM message LIMIT 1`,
  ),
];

/** Damage of form: the tables are others. */
const TABLES: readonly Harm[] = [
  sql(() => "DROP TABLE message"),
  sql(() => "DROP TABLE meta"),
  sql(() => "DROP INDEX message_by_due"),
  sql(() => "ALTER TABLE message RENAME COLUMN due TO dew"),
  sql(() => "ALTER TABLE message DROP COLUMN state"),
  sql(() => "ALTER TABLE segment RENAME TO fragment"),
  sql(() => "CREATE TRIGGER evil BEFORE DELETE ON message BEGIN SELECT RAISE(ABORT, 'no'); END"),
  sql(() => "PRAGMA user_version = -5"),
  sql(() => "PRAGMA user_version = 1000000"),
  sql(() => "PRAGMA journal_mode = DELETE"),
];

/**
 * Lives with the damage twice and then, when something did not come out, after `fsck --repair`: then at the latest every
 * message is there, since all its bytes are, or has been moved aside and told of.
 */
async function judge(template: Template, harms: readonly Harm[], random: Dice): Promise<void> {
  const spool = dir.join("spool");
  const done: string[] = [];
  try {
    fs.cpSync(template.directory, spool, { recursive: true });
    for (const harm of harms) done.push(harm(spool, random));
    const all = new Map([...template.known, ...endedOf(template)]);
    const lives = [await survived(spool, all), await survived(spool, all)];
    let last = lives[1];
    if (!isWhole(last, template)) {
      await check(spool, true);
      const again = await check(spool, false);
      if (again.damage + again.leftovers > 0)
        throw new Error(`fsck finds more: ${again.lines.join("; ")}`);
      last = await survived(spool, all);
    }
    const missing = [...template.known.keys()].filter((id) => !last?.found.has(id));
    // What was moved aside is told of; its segment is in corrupt/.
    if (missing.length > (last?.corrupt ?? 0))
      throw new Error(`${missing.join(" ")} are lost, ${last?.corrupt} told`);
  } catch (error) {
    throw new Error(`${template.name}: ${done.join(", ")}: ${String(error)}`, { cause: error });
  } finally {
    fs.rmSync(spool, { recursive: true, force: true });
  }
}

const SAID = /^the state of the queue cannot be read or written \(SQLITE_(?:CORRUPT|NOTADB|IOERR)/u;

type Lived = Awaited<ReturnType<typeof live>> | undefined;

/** `undefined`: the database turned out to be damaged while it was used, and says so as the contract has it. */
async function survived(spool: string, known: ReadonlyMap<string, Known>): Promise<Lived> {
  try {
    return await live(spool, known);
  } catch (error) {
    if (error instanceof QueueError && SAID.test(error.message)) return undefined;
    throw error;
  }
}

function isWhole(life: Lived, { known }: Template): boolean {
  return life !== undefined && [...known.keys()].every((id) => life.found.has(id));
}

describe("a damaged queue.db", () => {
  for (const [name, harms] of Object.entries({ bytes: BYTES, rows: ROWS, tables: TABLES })) {
    test(
      `(${name}) costs no message its life, and gives none another content`,
      async () => {
        await rounds(name === "tables" ? 12 : 30, async (random) => {
          const chosen = Array.from({ length: 1 + below(random, 2) }, () => pick(random, harms));
          await judge(pick(random, spools), chosen, random);
        });
      },
      FUZZ_TIMEOUT_MS,
    );
  }

  test("of a newer format is left alone, in clear words", async () => {
    const spool = dir.join("newer");
    fs.cpSync(spools[0]?.directory ?? "", spool, { recursive: true });
    const db = new Database(`${spool}/queue.db`);
    db.run("PRAGMA user_version = 2");
    db.close();
    await expect(live(spool, new Map())).rejects.toThrow("it was written by a newer version");
  });
});
