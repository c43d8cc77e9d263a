import { expect, test } from "bun:test";
import fc from "fast-check";
import { explain } from "../../src/config/explain.ts";
import { loadConfig } from "../../src/config/load.ts";
import { redactLogin } from "../../src/config/relay-url.ts";
import { suggest } from "../../src/config/suggest.ts";
import { input, loaded } from "./help.ts";

function explained(set: readonly string[], path: string): unknown {
  return explain(loaded({ set })).find((one) => one.path === path)?.value;
}

test("secrets are never explained, and empty ones are not called secrets", () => {
  const set = [
    "relay.to=smtp://a:hush@h:1,smtp://i",
    "relay.username=u",
    "relay.password=hush",
    "admin.token=hush",
  ];
  expect(JSON.stringify(explain(loaded({ set })))).not.toContain("hush");
  expect(explained(set, "relay.password")).toBe("<secret>");
  expect(explained(set, "admin.token")).toBe("<secret>");
  expect(explained(set, "relay.to")).toBe("smtp://<secret>@h:1 smtp://i");
  expect(explained([], "admin.token")).toBe("");
  expect(explained([], "relay.to")).toEqual(["mx"]);
});

test("no problem tells a secret, however the URL around it is broken", () => {
  const word = fc.stringMatching(/^[A-Za-z0-9!#%@:,;/?]{0,6}hush[A-Za-z0-9!#%@:,;/?]{0,6}$/u);
  const broken = word.chain((password) => {
    return fc.constantFrom(
      `smtp://user:${password}@`,
      `smtp://user:${password}@host:x`,
      `smtp://user:${password}@host,mx`,
      `smtp:/user:${password}@host`,
      `smtps//user:${password}@host`,
      `smtp://user:${password}@ho st`,
      `user:${password}@host`,
    );
  });
  fc.assert(
    fc.property(broken, fc.boolean(), (url, asList) => {
      const toml = `relay.to = ${JSON.stringify(asList ? [url] : url)}`;
      const result = loadConfig(input({ toml }));
      const shown = result.kind === "refused" ? result.issues : explain(result);
      expect(JSON.stringify(shown)).not.toContain("hush");
    }),
    { numRuns: 500 },
  );
});

test("a broken token or password is not shown either", () => {
  for (const path of ["relay.password", "admin.token"]) {
    const result = loadConfig(input({ toml: `${path} = "hush\\nhush"` }));
    expect(JSON.stringify(result)).not.toContain("hush");
  }
});

test("what hides a login leaves the host", () => {
  expect(redactLogin("smtp://u:p@h:25")).toBe("smtp://<secret>@h:25");
  expect(redactLogin("smtp://u:word")).toBe("smtp://<secret>");
  expect(redactLogin("smtp://host:25")).toBe("smtp://host:25");
  expect(redactLogin("mx")).toBe("mx");
  expect(redactLogin("s3://mail?endpoint=http://h:1")).toBe("s3://mail?endpoint=http://h:1");
});

test("the login of a store is not shown, wherever in its URL it is", () => {
  for (const [url, shown] of [
    ["redis://u:12345,hush@h/0", "redis://<secret>@h/0"],
    ["redis+sentinel://u:hush@a,b/main", "redis+sentinel://<secret>@a,b/main"],
    ["postgres://u:hush@h/db?schema=s", "postgres://<secret>@h/db?schema=s"],
    ["s3://k:hu/sh@bucket/a?region=eu", "s3://<secret>@bucket/a?region=eu"],
  ] as const) {
    expect(explained([`spool.url=${url}`], "spool.url")).toBe(shown);
  }
  // A start would say where the spool is: it must not come to that.
  for (const url of [
    "postgres://h/db?user=u&password=hush",
    "redis://h/0?password=hush",
    "s3://bucket?secret=hush",
    "s3://k:hush@b",
  ]) {
    const refused = loadConfig(input({ toml: `spool.url = "${url}"` }));
    expect(refused.kind).toBe("refused");
    expect(JSON.stringify(refused)).not.toContain("hush");
  }
});

test("suggestions are near, or there are none", () => {
  const words = ["listen", "trust", "hostname"];
  expect(suggest("lisen", words)).toBe("listen");
  expect(suggest("lsiten", words)).toBe("listen");
  expect(suggest("HOSTNAME", words)).toBe("hostname");
  expect(suggest("banana", words)).toBeUndefined();
  expect(suggest("", words)).toBeUndefined();
});
