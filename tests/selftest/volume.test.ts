import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { latencyOf, measureSyncs } from "../../src/selftest/sync-speed.ts";
import { readVolume, realSources, type VolumeSources } from "../../src/selftest/volume.ts";
import { tempDir } from "../support/temp-dir.ts";

const MOUNTS = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
30 27 8:0 / /mnt/mail rw,noatime - xfs /dev/sda rw,nobarrier
31 30 0:40 / /mnt/mail/spool rw - nfs4 server:/export rw,vers=4.2
32 27 0:50 / /srv rw - btrfs /dev/dm-1 rw,subvol=/
33 27 0:51 / /tank rw - zfs tank/mail rw,xattr
34 27 0:52 / /with\\040blank rw - tmpfs tmpfs rw
35 27 0:53 / /twice rw - ext4 /dev/none rw
36 35 0:54 / /twice rw - tmpfs tmpfs rw
`;

const FILES: Readonly<Record<string, string>> = {
  "/proc/self/mountinfo": MOUNTS,
  "/sys/devices/nvme0n1/queue/rotational": "0\n",
  "/sys/devices/nvme0n1/queue/write_cache": "write back\n",
  "/sys/devices/sda/queue/rotational": "1\n",
  "/sys/devices/sda/queue/write_cache": "write through\n",
  "/sys/devices/sda/device/vendor": "QEMU    \n",
  "/sys/devices/dm-1/queue/rotational": "0\n",
};

const LINKS: Readonly<Record<string, string>> = {
  "/sys/dev/block/259:2": "/sys/devices/nvme0n1/nvme0n1p2",
  "/sys/dev/block/8:0": "/sys/devices/sda",
  "/sys/dev/block/253:1": "/sys/devices/dm-1",
};

const SOURCES: VolumeSources = {
  read: (path) => FILES[path],
  resolve: (path) => LINKS[path],
  deviceNumber: (path) => (path === "/dev/dm-1" ? "253:1" : undefined),
  zfsSync: (dataset) => (dataset === "tank/mail" ? "disabled" : undefined),
};

test("the deepest mount counts, and of two at one place the later", () => {
  const system = (path: string) => readVolume(path, SOURCES).fileSystem;
  expect(system("/var/spool/slimta-queue")).toBe("ext4");
  expect(system("/mnt/mail")).toBe("xfs");
  expect(system("/mnt/mailbox")).toBe("ext4");
  expect(system("/mnt/mail/spool/a")).toBe("nfs4");
  expect(system("/with blank/a")).toBe("tmpfs");
  expect(system("/twice/a")).toBe("tmpfs");
});

test("a partition's disk, a host's disk, and what lies below a file system with numbers of its own", () => {
  expect(readVolume("/", SOURCES)).toEqual({
    fileSystem: "ext4",
    source: "/dev/nvme0n1p2",
    options: ["rw", "relatime", "errors=remount-ro"],
    device: { name: "nvme0n1", virtual: false, rotational: false, writeCache: "write back" },
  });
  expect(readVolume("/mnt/mail", SOURCES)).toMatchObject({
    options: ["rw", "noatime", "nobarrier"],
    device: { name: "sda", virtual: true, rotational: true, writeCache: "write through" },
  });
  expect(readVolume("/srv", SOURCES).device).toEqual({
    name: "dm-1",
    virtual: false,
    rotational: false,
  });
  expect(readVolume("/tank/a", SOURCES)).toMatchObject({ fileSystem: "zfs", zfsSync: "disabled" });
  expect(readVolume("/mnt/mail/spool", SOURCES).device).toBeUndefined();
});

test("a machine that tells nothing fails nothing", () => {
  const nothing = () => undefined;
  const silent = { read: nothing, resolve: nothing, deviceNumber: nothing, zfsSync: nothing };
  expect(readVolume("/", silent)).toEqual({ fileSystem: "", source: "", options: [] });
});

test("this machine tells its own", () => {
  expect(readVolume(import.meta.dir, realSources).fileSystem).not.toBe("");
});

test("samples are summed up", () => {
  expect(latencyOf([3, 1, 2])).toEqual({ samples: 3, p50: 2, p99: 3, max: 3 });
  const hundred = Array.from({ length: 200 }, (_, index) => index + 1);
  expect(latencyOf(hundred)).toEqual({ samples: 200, p50: 101, p99: 199, max: 200 });
  expect(latencyOf([])).toEqual({ samples: 0, p50: 0, p99: 0, max: 0 });
});

test("syncs are timed and nothing is left", async () => {
  await using dir = tempDir("syncs");
  // A clock that runs away: three samples of each, whatever the disk.
  let now = 0;
  const nanoseconds = () => {
    now += 1e9;
    return now;
  };
  const { small, group, directory } = measureSyncs(dir.path, nanoseconds);
  expect([small.samples, group.samples, directory.samples]).toEqual([3, 3, 3]);
  expect(small.p50).toBe(1000);
  expect(readdirSync(dir.path)).toEqual([]);
});
