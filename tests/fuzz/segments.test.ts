import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tempDir } from "../support/temp-dir.ts";
import { below, pick } from "./support/mutate.ts";
import { FUZZ_TIMEOUT_MS, rounds } from "./support/rounds.ts";
import {
  check,
  endedOf,
  type Known,
  live,
  segmentFiles,
  type Template,
  templates,
} from "./support/spools.ts";

let spools: readonly Template[] = [];
const dir = tempDir("fuzz-segments");
beforeAll(async () => {
  spools = await templates(dir);
});
afterAll(() => dir[Symbol.asyncDispose]());

type Dice = () => number;
/** Does something bad to a spool and says what, for whoever has to repeat it. */
type Harm = (spool: string, random: Dice) => string;

function onSegment(
  what: string,
  change: (bytes: Uint8Array, random: Dice, spool: string) => Uint8Array,
): Harm {
  return (spool, random) => {
    const files = segmentFiles(spool);
    if (files.length === 0) return "nothing is left";
    const file = pick(random, files);
    const path = `${spool}/${file}`;
    const bytes = bytesAt(path);
    if (bytes === undefined) return "no file";
    fs.writeFileSync(path, change(bytes, random, spool));
    return `${what} in ${file}`;
  };
}

/** The bytes of a file; `undefined` for whatever else has the name. */
function bytesAt(path: string): Uint8Array | undefined {
  const isFile = fs.lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
  return isFile ? new Uint8Array(fs.readFileSync(path)) : undefined;
}

const FORGOTTEN = "queue.db removed";

const PAGES = [16, 64, 512, 4096];

function randomBytes(length: number, random: Dice): Uint8Array {
  return Uint8Array.from({ length }, () => below(random, 256));
}

const HARMS: readonly Harm[] = [
  onSegment("a bit flipped", (bytes, random) => {
    const at = below(random, Math.min(bytes.length, 2000));
    bytes[at] = (bytes[at] ?? 0) ^ (1 << below(random, 8));
    return bytes;
  }),
  onSegment("octets of chance", (bytes, random) => {
    const at = below(random, bytes.length);
    bytes.set(randomBytes(Math.min(1 + below(random, 40), bytes.length - at), random), at);
    return bytes;
  }),
  onSegment("a page of zeros", (bytes, random) => {
    const page = pick(random, PAGES);
    const at = page * below(random, Math.ceil(bytes.length / page));
    return bytes.fill(0, at, at + page);
  }),
  onSegment("two pages swapped", (bytes, random) => {
    const page = pick(random, PAGES);
    const [one, two] = [0, 0].map(
      () => page * below(random, Math.max(1, Math.floor(bytes.length / page))),
    );
    const kept = bytes.slice(one, (one ?? 0) + page);
    bytes.copyWithin(one ?? 0, two ?? 0, (two ?? 0) + page);
    bytes.set(kept.subarray(0, bytes.length - (two ?? 0)), two);
    return bytes;
  }),
  onSegment("cut", (bytes, random) => bytes.slice(0, below(random, bytes.length + 1))),
  onSegment("longer", (bytes, random) => {
    const more = pick(random, [
      randomBytes(100, random),
      new Uint8Array(5000),
      bytes.slice(0, 3000),
    ]);
    return new Uint8Array(Buffer.concat([bytes, more]));
  }),
  onSegment("octets inserted", (bytes, random) => {
    const at = below(random, bytes.length);
    return new Uint8Array(
      Buffer.concat([bytes.subarray(0, at), randomBytes(7, random), bytes.subarray(at)]),
    );
  }),
  onSegment("replaced by chance", (bytes, random) =>
    randomBytes(below(random, bytes.length), random),
  ),
  onSegment("replaced by another", (_, random, spool) => {
    return bytesAt(`${spool}/${pick(random, segmentFiles(spool))}`) ?? new Uint8Array();
  }),
  (spool, random) => {
    const file = pick(random, segmentFiles(spool));
    fs.rmSync(`${spool}/${file}`, { force: true, recursive: true });
    return `${file} removed`;
  },
  (spool, random) => {
    const file = pick(random, segmentFiles(spool));
    const path = `${spool}/${file}`;
    fs.rmSync(path, { force: true, recursive: true });
    const kinds = {
      directory: () => fs.mkdirSync(path),
      "a link to nowhere": () => fs.symlinkSync("/nowhere", path),
      "a link to itself": () => fs.symlinkSync(path, path),
      "an endless file": () => fs.symlinkSync("/dev/zero", path),
      "an empty file": () => fs.writeFileSync(path, ""),
    };
    const kind = pick(random, Object.keys(kinds) as (keyof typeof kinds)[]);
    kinds[kind]();
    return `${file} is ${kind} now`;
  },
  (spool, random) => {
    const names = [
      "content/junk",
      "content/0000000G",
      "content/00000000/x",
      "content/00000000/000000000I.seg",
      "content/00000000/ZZZZZZZZZZ.seg",
      "content/00000000/0000000FFF.seg",
      "content/ZZZZZZZZ/ZZZZZZZZZZ.seg",
      "scratch/1",
      "scratch/spare-1",
      "scratch/salvage",
      "corrupt/x",
      "content/.hidden",
      "junk",
      "content/00000000/0000000002.seg.bak",
      "content/00000000/0000000AAA.seg",
      "rebuild-1",
    ];
    const path = `${spool}/${pick(random, names)}`;
    fs.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    if (fs.existsSync(path)) return "nothing";
    const kinds = [
      () => fs.mkdirSync(`${path}/below`, { recursive: true }),
      () => fs.symlinkSync("/nowhere", path),
      () => fs.symlinkSync("/dev/zero", path),
      () => fs.writeFileSync(path, randomBytes(100, random)),
      () =>
        fs.cpSync(`${spool}/${pick(random, segmentFiles(spool))}`, path, {
          recursive: true,
          dereference: false,
        }),
    ];
    const kind = below(random, kinds.length);
    kinds[kind]?.();
    return `${path.slice(spool.length)} is there, of kind ${kind}`;
  },
  (spool) => {
    for (const suffix of ["", "-wal", "-shm"])
      fs.rmSync(`${spool}/queue.db${suffix}`, { force: true });
    return FORGOTTEN;
  },
];

/** The messages whose every octet is where it was. */
function unharmed(spool: string, { known, directory }: Template): readonly Known[] {
  return [...known.values()].filter(({ file, ranges }) => {
    const [before, after] = [bytesAt(`${directory}/${file}`), bytesAt(`${spool}/${file}`)];
    if (before === undefined || after === undefined) return false;
    // A file that says it is another segment is a reused one that a power cut gave its old name back.
    if (isAnother(before, after)) return false;
    return ranges.every(
      ([from, to]) => Buffer.compare(before.subarray(from, to), after.subarray(from, to)) === 0,
    );
  });
}

/** The messages of which there is a trace: a file of their own, or a row in queue.db. Nobody misses the others. */
function traced(
  spool: string,
  { known, directory, name }: Template,
  isForgotten: boolean,
): readonly Known[] {
  if (name !== "behind" && !isForgotten) return [...known.values()];
  return [...known.values()].filter(({ file }) => {
    const [before, after] = [bytesAt(`${directory}/${file}`), bytesAt(`${spool}/${file}`)];
    return before !== undefined && after !== undefined && !isAnother(before, after);
  });
}

function isAnother(before: Uint8Array, after: Uint8Array): boolean {
  const number = (bytes: Uint8Array) => Buffer.from(bytes.subarray(0, 24)).toString("hex");
  const all = spools.flatMap(({ directory }) =>
    segmentFiles(directory).map((file) => number(fs.readFileSync(`${directory}/${file}`))),
  );
  return number(after) !== number(before) && all.includes(number(after));
}

async function judge(template: Template, harms: readonly Harm[], random: Dice): Promise<void> {
  const spool = dir.join("spool");
  const done: string[] = [];
  try {
    fs.cpSync(template.directory, spool, { recursive: true });
    for (const harm of harms) done.push(harm(spool, random));
    const expected = unharmed(spool, template);
    const isForgotten = done.includes(FORGOTTEN);
    const missable = traced(spool, template, isForgotten);
    // With queue.db, what has ended stays away; without it nobody knows.
    const anything = new Map([...template.known, ...endedOf(template)]);
    const isChecked = random() < 0.4;
    if (isChecked) await check(spool, true);
    if (isChecked) {
      const again = await check(spool, false);
      if (again.damage + again.leftovers > 0)
        throw new Error(`fsck finds more: ${again.lines.join("; ")}`);
    }
    const first = await live(spool, anything);
    const second = await live(spool, anything);
    for (const { id } of expected) {
      if (!first.found.has(id)) throw new Error(`${id} is unharmed and did not come out`);
      if (!second.found.has(id)) throw new Error(`${id} is gone after a restart`);
    }
    const isMissed = missable.some(({ id }) => !first.found.has(id));
    if (isMissed && first.corrupt === 0) throw new Error("something is lost and nothing is told");
  } catch (error) {
    throw new Error(`${template.name}: ${done.join(", ")}: ${String(error)}`, { cause: error });
  } finally {
    fs.rmSync(spool, { recursive: true, force: true });
  }
}

describe("a damaged spool", () => {
  test("that is not damaged gives everything", async () => {
    for (const template of spools) {
      await judge(template, [], () => 0.9);
      await judge(template, [], () => 0.1);
    }
  });

  test(
    "gives every message that is not, and none that is wrong; what is damaged is told",
    async () => {
      await rounds(60, async (random) => {
        const harms = Array.from({ length: 1 + below(random, 3) }, () => pick(random, HARMS));
        await judge(pick(random, spools), harms, random);
      });
    },
    FUZZ_TIMEOUT_MS,
  );
});

test("directories among the files that are being written are swept", async () => {
  const [template] = spools;
  const spool = dir.join("scratch-directories");
  fs.cpSync(template?.directory ?? "", spool, { recursive: true });
  for (const name of ["1", "spare-99"])
    fs.mkdirSync(`${spool}/scratch/${name}/below`, { recursive: true });
  const { found } = await live(spool, template?.known ?? new Map());
  expect(found.size).toBe(template?.known.size ?? 0);
  expect(fs.readdirSync(`${spool}/scratch`)).not.toContain("1");
});

test("messages are found where they are", () => {
  for (const { known } of spools) expect(known.size).toBeGreaterThanOrEqual(14);
});
