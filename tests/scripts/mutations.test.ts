import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { allMutations } from "../../scripts/mutation/all-mutations.ts";
import { edited } from "../../scripts/mutation/mutation.ts";
import { withoutSyncs } from "../../scripts/mutation/syncs.ts";
import { ROOT } from "../support/binary.ts";

const MUTATIONS = allMutations(ROOT);

describe("the mutations of bun run mutate", () => {
  test.each(MUTATIONS.map((each) => [each.name, each] as const))(
    "still fit the code: %s",
    (_name, each) => {
      for (const edit of each.edits) {
        const text = readFileSync(join(ROOT, edit.file), "utf8");
        expect(() => edited(text, edit)).not.toThrow();
        expect(edited(text, edit)).not.toBe(text);
      }
      for (const path of each.tests) expect(existsSync(join(ROOT, path))).toBe(true);
    },
  );

  test("have names of their own", () => {
    const names = MUTATIONS.map(({ name }) => name);
    expect(names.length).toBe(new Set(names).size);
  });

  test("include every sync that the disk engine makes", () => {
    const files = new Bun.Glob("src/storage/**/*.ts").scanSync({ cwd: ROOT });
    const call = /(?<!async )\b(?:sync(?:Data|Directory)|f(?:data)?sync(?:Sync)?)\((?!\w+: )/gu;
    const calls = [...files].flatMap((file) => [
      ...readFileSync(join(ROOT, file), "utf8").matchAll(call),
    ]);
    expect(calls.length).toBeGreaterThan(12);
    expect(MUTATIONS.filter(({ name }) => name.startsWith("no sync")).length).toBe(calls.length);
  });
});

describe("a mutation without a sync", () => {
  const detectors = { usual: ["tests/a"], byFile: { "b.ts": ["tests/b"] } };

  test("leaves out one call and nothing else", () => {
    const text = "a();\nawait files.syncData(open(fd));\nb();\n";
    const [only, ...others] = withoutSyncs("a.ts", text, detectors);
    expect(others).toEqual([]);
    expect(only?.tests).toEqual(["tests/a"]);
    expect(only?.edits.map((edit) => edited(text, edit))).toEqual([
      "a();\nawait Promise.resolve();\nb();\n",
    ]);
  });

  test("calls back where a callback waits, and has the detectors of its file", () => {
    const text = "x\nsettled((done) => fs.fdatasync(fd, done));\nfs.fsyncSync(fd);\n";
    const found = withoutSyncs("b.ts", text, detectors);
    expect(found.map(({ edits: [edit] }) => edit && edited(text, edit))).toEqual([
      "x\nsettled((done) => done(null));\nfs.fsyncSync(fd);\n",
      "x\nsettled((done) => fs.fdatasync(fd, done));\nundefined;\n",
    ]);
    expect(found[0]?.tests).toEqual(["tests/b"]);
  });
});
