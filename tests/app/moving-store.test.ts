/** What a store is called in the marks of mail that is on its way: the same in every run. */
import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { namedStore } from "../../src/app/moving-store.ts";
import type { Config } from "../../src/config/config.ts";
import { tempDir } from "../support/temp-dir.ts";

const config = {
  spool: { dir: "/unused", url: null },
  smtp: { hostname: "mx.example" },
} as unknown as Config;
const nameOf = (text: string): string => namedStore("--to", text, config).name;

test("a directory is called the same before and after it is made, however it is written", async () => {
  await using dir = tempDir("moving-store");
  mkdirSync(dir.join("real"));
  symlinkSync(dir.join("real"), dir.join("link"));
  const ways = ["link/new", "link/new/", "link//new", "real/../link/new"];
  const before = ways.map((way) => nameOf(`${dir.path}/${way}`));
  mkdirSync(dir.join("real/new"));
  const after = ways.map((way) => nameOf(`${dir.path}/${way}`));
  const [name = ""] = after;
  expect(name).toEndWith("/real/new");
  expect(new Set([...before, ...after])).toEqual(new Set([name]));
});

test("a directory below this one is called by its whole path", () => {
  const name = nameOf("not-there");
  expect(name).toBe(`mx.example:${process.cwd()}/not-there`);
});

test("what is called the same on every host is told apart by the host", () => {
  expect(nameOf("redis://127.0.0.1/1")).toStartWith("mx.example:redis://");
  expect(nameOf("redis://store.example/1")).toStartWith("redis://");
});
