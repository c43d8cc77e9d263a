import { describe, expect, test } from "bun:test";
import { seededRandom } from "../support/seeded.ts";
import { Disk, type Image } from "./disk.ts";
import type { Step } from "./recording.ts";
import { candidates } from "./states.ts";

const FLAGS = { create: true, truncate: false, isDirectoryOfSqlite: false };
const DIRECTORIES: Image = new Map([
  ["a", null],
  ["b", null],
]);

const open = (handle: number, path: string): Step => ({ kind: "open", handle, path, flags: FLAGS });
const write = (handle: number, text: string, offset = 0): Step => {
  return { kind: "write", handle, offset, bytes: new Uint8Array(Buffer.from(text)) };
};
const sync = (handle: number): readonly Step[] => [
  { kind: "sync-start", handle, sync: handle },
  { kind: "sync-end", handle, sync: handle },
];
const rename = (path: string, to: string): Step => ({ kind: "rename", path, to });

/** Every tree that a power cut behind these steps may leave, as far as a few rolls of the dice find them. */
function trees(steps: readonly Step[], image: Image = DIRECTORIES): ReadonlySet<string> {
  const disk = new Disk(image);
  for (const step of steps) disk.take(step);
  const all = new Set<string>();
  for (let seed = 0; seed < 200; seed += 1) {
    for (const { survival } of candidates(disk, seededRandom(seed))) {
      const files = [...disk.image(survival)].filter(([, bytes]) => bytes !== null);
      all.add(files.map(([path, bytes]) => `${path}=${show(bytes)}`).join(" "));
    }
  }
  return all;
}

const show = (bytes: Uint8Array | null) => Buffer.from(bytes ?? []).toString("latin1");
const file = (text: string) => new Uint8Array(Buffer.from(text));

describe("the disk that a power cut leaves", () => {
  test("a file that was never synced is there or not, empty, whole, zeros or garbage", () => {
    const found = trees([open(1, "a/x"), write(1, "new")]);
    for (const tree of ["", "a/x=", "a/x=new", "a/x=\0\0\0"]) expect(found).toContain(tree);
    expect([...found].some((tree) => /^a\/x=[^\0n]/u.test(tree))).toBe(true);
  });

  test("a data sync saves bytes and not the name; the directory's saves the name and not bytes", () => {
    const made = [open(1, "a/x"), write(1, "new")];
    expect([...trees([...made, ...sync(1)])].sort()).toEqual(["", "a/x=new"]);
    const named = trees([...made, open(2, "a"), ...sync(2)]);
    expect(named).toContain("a/x=");
    expect([...named].every((tree) => tree.startsWith("a/x"))).toBe(true);
    expect(trees([...made, ...sync(1), open(2, "a"), ...sync(2)])).toEqual(new Set(["a/x=new"]));
  });

  test("a sync covers what was written before it started, and has done so when it has ended", () => {
    const [start, end] = sync(1) as [Step, Step];
    const image = new Map([...DIRECTORIES, ["a/x", file("old")] as const]);
    const late = [open(1, "a/x"), write(1, "one"), start, write(1, "two"), end];
    expect(trees(late, image)).toEqual(new Set(["a/x=one", "a/x=two"]));
    const early = [open(1, "a/x"), write(1, "one"), start];
    expect(trees(early, image)).toEqual(new Set(["a/x=old", "a/x=one"]));
  });

  test("a file that is written over keeps its old bytes where the new ones are missing", () => {
    const sectors = (text: string) => text.repeat(512);
    const image = new Map([...DIRECTORIES, ["a/x", file(sectors("o") + sectors("o"))] as const]);
    const found = trees([open(1, "a/x"), write(1, sectors("n") + sectors("n"))], image);
    const states = ["oo", "on", "no", "nn"].map((each) => `a/x=${[...each].map(sectors).join("")}`);
    expect([...found].sort()).toEqual(states.sort());
  });

  test("a sector never holds a later write without the earlier ones", () => {
    const image = new Map([...DIRECTORIES, ["a/x", file("....")] as const]);
    const found = trees([open(1, "a/x"), write(1, "1"), write(1, "2", 1)], image);
    expect([...found].sort()).toEqual(["a/x=....", "a/x=1...", "a/x=12.."]);
  });

  test("a rename leaves one of the names, and is saved by the sync of either directory", () => {
    const image = new Map([...DIRECTORIES, ["a/x", file("x")] as const]);
    const moved = [rename("a/x", "b/y")];
    expect([...trees(moved, image)].sort()).toEqual(["a/x=x", "b/y=x"]);
    for (const path of ["a", "b"]) {
      expect(trees([...moved, open(1, path), ...sync(1)], image)).toEqual(new Set(["b/y=x"]));
    }
  });

  test("renames of different files may get there in any order, those of one file not", () => {
    const files: Image = new Map([...DIRECTORIES, ["a/x", file("x")], ["a/y", file("y")]]);
    const apart = trees([rename("a/x", "b/x"), rename("a/y", "b/y")], files);
    expect(apart).toContain("a/x=x b/y=y");
    expect(apart).toContain("a/y=y b/x=x");
    const one: Image = new Map([...DIRECTORIES, ["a/x", file("x")]]);
    const chained = trees([rename("a/x", "a/z"), rename("a/z", "b/x")], one);
    expect([...chained].sort()).toEqual(["a/x=x", "a/z=x", "b/x=x"]);
  });

  test("a removed file may come back; what is in a directory without a name is lost", () => {
    const image = new Map([...DIRECTORIES, ["a/x", file("x")] as const]);
    expect([...trees([{ kind: "unlink", path: "a/x" }], image)].sort()).toEqual(["", "a/x=x"]);
    const inside = [
      { kind: "mkdir", path: "c" } as const,
      ...[open(1, "c/x"), write(1, "x"), ...sync(1), open(2, "c"), ...sync(2)],
    ];
    expect([...trees(inside)].sort()).toEqual(["", "c/x=x"]);
    expect(trees([...inside, open(3, ""), ...sync(3)])).toEqual(new Set(["c/x=x"]));
  });
});
