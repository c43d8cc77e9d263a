import * as fs from "node:fs";

/** How long syncs took, in milliseconds. */
export interface Latency {
  readonly samples: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** The syncs that stand between a message and its 250 (P1). */
export interface SyncSpeed {
  /** A small message: 4 KiB and the sync of its data. */
  readonly small: Latency;
  /** A group of messages that share one commit: 256 KiB. */
  readonly group: Latency;
  /** A changed name and the sync of its directory. */
  readonly directory: Latency;
}

export const SMALL_BYTES = 4096;
export const GROUP_BYTES = 256 * 1024;
const SAMPLES_MAX = 200;
/** No kind of sync is measured for longer. */
const EACH_MS_MAX = 1500;
/** So many are measured even where each takes a second. */
const SAMPLES_MIN = 3;
/** A file that is appended to is begun anew at this size. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;

/** Measures in a directory that is empty, and leaves it so. Blocks meanwhile: handing each call to a thread would count too. */
export function measureSyncs(dir: string, nanoseconds: () => number): SyncSpeed {
  const file = `${dir}/syncs`;
  try {
    return {
      small: appends(file, SMALL_BYTES, nanoseconds),
      group: appends(file, GROUP_BYTES, nanoseconds),
      directory: renames(dir, file, nanoseconds),
    };
  } finally {
    for (const path of [file, `${file}.renamed`]) fs.rmSync(path, { force: true });
  }
}

function appends(file: string, bytes: number, nanoseconds: () => number): Latency {
  const chunk = new Uint8Array(bytes).fill(0x51);
  const fd = fs.openSync(file, "w", 0o600);
  let size = 0;
  try {
    return sampled(nanoseconds, () => {
      if (size + bytes > FILE_BYTES_MAX) size = 0;
      for (let done = 0; done < bytes; ) {
        done += fs.writeSync(fd, chunk, done, bytes - done, size + done);
      }
      size += bytes;
      return () => fs.fdatasyncSync(fd);
    });
  } finally {
    fs.closeSync(fd);
  }
}

function renames(dir: string, file: string, nanoseconds: () => number): Latency {
  const fd = fs.openSync(dir, "r");
  let names: readonly [string, string] = [file, `${file}.renamed`];
  try {
    return sampled(nanoseconds, () => {
      fs.renameSync(...names);
      names = [names[1], names[0]];
      return () => fs.fsyncSync(fd);
    });
  } finally {
    fs.closeSync(fd);
  }
}

/** Times what `prepare` returns, again and again. */
function sampled(nanoseconds: () => number, prepare: () => () => void): Latency {
  const took: number[] = [];
  const endAt = nanoseconds() + EACH_MS_MAX * 1e6;
  while (took.length < SAMPLES_MAX && (took.length < SAMPLES_MIN || nanoseconds() < endAt)) {
    const sync = prepare();
    const startedAt = nanoseconds();
    sync();
    took.push((nanoseconds() - startedAt) / 1e6);
  }
  return latencyOf(took);
}

/** Sums samples up. Pure. */
export function latencyOf(samples: readonly number[]): Latency {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => {
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  };
  return { samples: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
