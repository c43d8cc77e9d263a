import { describe, expect, test } from "bun:test";
import { openError } from "../../src/storage/redis/errors.ts";
import { StoreConfigError } from "../../src/storage/store-config-error.ts";
import { StoreUnavailableError } from "../../src/storage/store-unavailable-error.ts";

describe("a Redis that cannot be opened", () => {
  test.each([
    ["Connection is closed."],
    ["Reached the max retries per request limit (which is 0). Refer to maxRetriesPerRequest."],
    ["LOADING Redis is loading the dataset in memory"],
    ["CLUSTERDOWN The cluster is down"],
  ])("is worth another try: %s", (message) => {
    expect(openError("redis://cache", new Error(message))).toBeInstanceOf(StoreUnavailableError);
  });

  test.each([
    ["WRONGPASS invalid username-password pair or user is disabled."],
    ["ERR DB index is out of range"],
    ["All sentinels are unreachable. Last error: WRONGPASS invalid username-password pair"],
  ])("needs another setting: %s", (message) => {
    const error = openError("redis://cache", new Error(message));
    expect(error).toBeInstanceOf(StoreConfigError);
    expect(error.message).toBe(`cannot use redis://cache: ${message}`);
  });
});
