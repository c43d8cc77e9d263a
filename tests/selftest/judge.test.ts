import { describe, expect, test } from "bun:test";
import { judge } from "../../src/selftest/judge.ts";
import type { BlockDevice, Volume } from "../../src/selftest/volume.ts";

const SSD: BlockDevice = {
  name: "nvme0n1",
  virtual: false,
  rotational: false,
  writeCache: "write back",
};

interface Given extends Partial<Volume> {
  /** The median of a small sync. */
  readonly ms?: number;
}

function judged({ ms = 0.4, ...volume }: Given) {
  const latency = { samples: 100, p50: ms, p99: ms * 2, max: ms * 3 };
  const known = {
    fileSystem: "ext4",
    source: "/dev/nvme0n1",
    options: ["rw"],
    device: SSD,
    ...volume,
  };
  return judge(known, { small: latency, group: latency, directory: latency });
}

function warnings(given: Given): readonly string[] {
  return judged(given)
    .filter(({ level }) => level === "warning")
    .map(({ text }) => text);
}

describe("a volume is warned of", () => {
  const bad: readonly (readonly [Given, RegExp])[] = [
    [{ fileSystem: "tmpfs", ms: 0.001 }, /^tmpfs is memory/u],
    [{ fileSystem: "ramfs", ms: 0.001 }, /^ramfs is memory/u],
    [{ fileSystem: "overlay" }, /container/u],
    [{ fileSystem: "nfs4" }, /server's word/u],
    [{ fileSystem: "nfs" }, /server's word/u],
    [{ fileSystem: "cifs" }, /server's word/u],
    [{ fileSystem: "9p" }, /host/u],
    [{ fileSystem: "virtiofs" }, /host/u],
    [{ fileSystem: "fuse.sshfs" }, /program decides/u],
    [{ fileSystem: "vfat" }, /no journal/u],
    [{ options: ["rw", "nobarrier"] }, /mounted with nobarrier/u],
    [{ options: ["rw", "barrier=0"] }, /mounted with barrier=0/u],
    [{ options: ["rw", "data=writeback"] }, /data=writeback/u],
    [{ fileSystem: "zfs", zfsSync: "disabled" }, /ignores every sync/u],
    [{ ms: 0.004 }, /syncs do nothing \(sure\)/u],
    [{ ms: 0.03 }, /unless capacitors .* \(unsure\)/u],
    [{ ms: 0.3, device: { ...SSD, name: "sda", rotational: true } }, /turns, .* \(sure that/u],
  ];
  for (const [given, text] of bad) {
    test(`${JSON.stringify(given)}`, () => {
      expect(warnings(given)).toEqual([expect.stringMatching(text)]);
    });
  }
});

describe("a volume is not warned of", () => {
  const good: readonly (readonly [Given, RegExp])[] = [
    [{}, /as long as one that is done \(likely\)/u],
    [{ fileSystem: "xfs" }, /likely/u],
    [{ fileSystem: "zfs", zfsSync: "standard" }, /likely/u],
    [{ ms: 8, device: { ...SSD, name: "sda", rotational: true } }, /likely/u],
    [{ ms: 0.03, device: { ...SSD, writeCache: "write through" } }, /says that it has no cache/u],
    // A virtual disk calls itself rotating, whatever it is.
    [
      { ms: 0.1, device: { ...SSD, name: "vda", virtual: true, rotational: true } },
      /up to the host/u,
    ],
  ];
  for (const [given, text] of good) {
    test(`${JSON.stringify(given)}`, () => {
      expect(warnings(given)).toEqual([]);
      expect(judged(given)).toEqual([{ level: "note", text: expect.stringMatching(text) }]);
    });
  }

  test("persistent memory, which is that fast", () => {
    expect(
      warnings({ ms: 0.004, device: { ...SSD, name: "pmem0", writeCache: "write through" } }),
    ).toEqual([]);
  });

  test("what cannot be told is said", () => {
    const { device, ...rest } = { fileSystem: "", source: "", options: [], device: undefined };
    const latency = { samples: 1, p50: 0.4, p99: 0.4, max: 0.4 };
    const texts = judge(rest, { small: latency, group: latency, directory: latency });
    expect(device).toBeUndefined();
    expect(texts.map(({ text }) => text)).toEqual([
      "nothing is known here of the file system of this machine",
      "the disk below cannot be seen from here: unsure of syncs",
    ]);
  });
});
