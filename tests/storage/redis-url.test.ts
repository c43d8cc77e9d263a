import { describe, expect, test } from "bun:test";
import { readRedisUrl, shownRedisUrl } from "../../src/storage/redis/redis-url.ts";

const read = (text: string) => readRedisUrl(text) ?? {};
const shown = (text: string) => {
  const address = readRedisUrl(text);
  return address === undefined ? undefined : shownRedisUrl(address);
};

describe("URLs of Redis", () => {
  test("say where it is, with the usual ports and names", () => {
    expect(readRedisUrl("redis://cache")).toEqual({
      kind: "single",
      hosts: [{ host: "cache", port: 6379 }],
      service: "",
      database: 0,
      username: null,
      password: null,
      tls: false,
      caFile: null,
      sentinelLoginFile: null,
      prefix: "slimta",
      durability: "require",
      replicas: 0,
      synced: 0,
    });
    expect(read("rediss://[::1]:7000/3")).toMatchObject({
      hosts: [{ host: "::1", port: 7000 }],
      database: 3,
      tls: true,
    });
    expect(
      read("redis://h?prefix=mail&durability=warn&replicas=2&synced=1&ca_file=/ca.pem"),
    ).toMatchObject({
      prefix: "mail",
      durability: "warn",
      replicas: 2,
      synced: 1,
      caFile: "/ca.pem",
    });
  });

  test("carry a login as people write it", () => {
    expect(read("redis://joe:p%40ss@h")).toMatchObject({ username: "joe", password: "p@ss" });
    expect(read("redis://:p@ss@h")).toMatchObject({ username: null, password: "p@ss" });
    expect(read("redis://hush@h")).toMatchObject({ username: null, password: "hush" });
    expect(read("redis://joe:100%@h")).toMatchObject({ password: "100%" });
  });

  test("name Sentinels with their service, or nodes of a cluster", () => {
    expect(read("redis+sentinel://:hush@a,b:7001/mymaster/2")).toMatchObject({
      kind: "sentinel",
      hosts: [
        { host: "a", port: 26_379 },
        { host: "b", port: 7001 },
      ],
      service: "mymaster",
      database: 2,
      password: "hush",
    });
    expect(read("rediss+cluster://a,b:7001")).toMatchObject({ kind: "cluster", tls: true });
  });

  test("are refused when they mean nothing", () => {
    for (const wrong of [
      "redis:",
      "redis://",
      "redis://h:x",
      "redis://h:0",
      "redis://h/db",
      "redis://h/1/2",
      "redis://a,b",
      "redis://h?prefix={x}",
      "redis://h?durability=maybe",
      "redis://h?replicas=-1",
      "redis://h?typo=1",
      "redis://h?ca_file=ca.pem",
      "redis+sentinel://h/mail?sentinel_login_file=login",
      "redis://h?sentinel_login_file=/login",
      "redis+sentinel://a",
      "redis+cluster://a/1",
      "http://h",
    ]) {
      expect(readRedisUrl(wrong), wrong).toBeUndefined();
    }
  });

  test("are shown without a login", () => {
    expect(shown("redis://joe:hush@h/2")).toBe("redis://h:6379/2");
    expect(shown("rediss+sentinel://:hush@a,[::1]:7/m?prefix=x")).toBe(
      "rediss+sentinel://a:26379,[::1]:7/m?prefix=x",
    );
  });
});
