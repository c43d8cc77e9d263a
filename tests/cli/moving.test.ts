import { expect, test } from "bun:test";
import type { ImportOptions, TransferOptions } from "../../src/cli/parts.ts";
import { run } from "./help.ts";

async function transferred(...argv: readonly string[]) {
  const asked: TransferOptions[] = [];
  const transfer = async (_: unknown, options: TransferOptions) => {
    asked.push(options);
    return 75;
  };
  const ran = await run(["transfer", ...argv], { transfer });
  return { ...ran, asked: asked[0] };
}

async function imported(...argv: readonly string[]) {
  const asked: ImportOptions[] = [];
  const importMail = async (_: unknown, options: ImportOptions) => {
    asked.push(options);
    return 65;
  };
  const ran = await run(["import", ...argv], { importMail });
  return { ...ran, asked: asked[0] };
}

test("transfer hands on what it was asked, and the code that it gets", async () => {
  const { code, asked } = await transferred("--from", "/a", "--to=redis://b", "--dry-run");
  expect(code).toBe(75);
  expect(asked).toMatchObject({ from: "/a", to: "redis://b", dryRun: true, json: false });
});

test("transfer wants both ends and nothing else", async () => {
  for (const argv of [
    [],
    ["--from", "/a"],
    ["--to", "/b"],
    ["--from", "/a", "--to="],
    ["/a", "/b"],
  ]) {
    const { code, err, asked } = await transferred(...argv);
    expect(code).toBe(64);
    expect(err).toContain("error:");
    expect(asked).toBeUndefined();
  }
});

test("import hands on where each kind of queue is", async () => {
  const disk = ["slimta-disk", "--env-dir", "/e", "--meta-dir", "/m", "--to", "/s", "--remove"];
  expect(await imported(...disk)).toMatchObject({
    code: 65,
    asked: { from: { kind: "slimta-disk", envDir: "/e", metaDir: "/m" }, to: "/s", remove: true },
  });
  expect((await imported("slimta-redis", "redis://r/1", "--to", "/s")).asked?.from).toEqual({
    kind: "slimta-redis",
    url: "redis://r/1",
    prefix: "slimta:",
  });
  expect((await imported("postfix", "--config-dir", "/c", "--to", "/s")).asked?.from).toEqual({
    kind: "postfix",
    queueDir: undefined,
    configDir: "/c",
  });
});

test("import wants to be told from where and where to", async () => {
  const wrong = [
    ["slimta-disk", "--to", "/s"],
    ["slimta-disk", "--env-dir", "/e", "--meta-dir", "/m"],
    ["slimta-redis", "--to", "/s"],
    ["slimta-redis", "redis://a", "redis://b", "--to", "/s"],
    ["postfix"],
    ["postfix", "/var/spool/postfix", "--to", "/s"],
    ["exim", "--to", "/s"],
  ];
  for (const argv of wrong) {
    const { code, asked } = await imported(...argv);
    expect(code, argv.join(" ")).toBe(64);
    expect(asked).toBeUndefined();
  }
});
