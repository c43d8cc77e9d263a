import * as v from "valibot";
import {
  type Endpoint,
  isHostName,
  isSocketPath,
  readEndpoint,
  readHostPort,
  readNetwork,
} from "./network.ts";
import { type RelayTarget, readRelayEntry, type Smarthost } from "./relay-url.ts";
import { listOf, reader } from "./setting.ts";
import { expectedStoreUrl, readStoreUrl, type StoreUrl } from "./store-url.ts";
import { readDuration, readPercent, readSize, readWhole } from "./units.ts";

// The kinds of values that settings have: how each is read, and what is said when it cannot be.

const DURATION = "a duration such as 500ms, 30s, 5m, 4h or 5d";
/** Whatever is longer than a year is a slip of the keyboard. */
const DURATION_MS_MAX = 366 * 86_400_000;
const BYTES_MAX = 2 ** 50;
const OFF = new Set<unknown>(["off", "0", 0, false]);

/** Milliseconds, from `least` on. */
export function duration(least: number) {
  const expected = least > 1 ? `${DURATION}, at least ${least}ms` : DURATION;
  return reader(expected, (raw) => {
    const ms = readDuration(raw);
    return ms !== undefined && ms >= least && ms <= DURATION_MS_MAX ? ms : undefined;
  });
}

/** Milliseconds, or `null` for `off`. */
export const durationOrOff = reader<number | null>(`${DURATION}, or "off"`, (raw) => {
  const ms = OFF.has(raw) ? 0 : readDuration(raw);
  if (ms === undefined || ms > DURATION_MS_MAX) return undefined;
  return ms === 0 ? null : ms;
});

/** At least one duration. */
export const durations = v.pipe(
  listOf(duration(1000)),
  v.minLength(1, "a list of at least one duration"),
);

/** Bytes. */
export function size(least: number, most: number = BYTES_MAX) {
  const bounds = most < BYTES_MAX ? `from ${least} to ${most} bytes` : `of at least ${least} bytes`;
  return reader(`a size such as 512KiB or 25MiB, ${bounds}`, (raw) => {
    const bytes = readSize(raw);
    return bytes !== undefined && bytes >= least && bytes <= most ? bytes : undefined;
  });
}

/** A share from 0 to 1. */
export const percent = reader("a percentage from 0% to 100%", readPercent);

/** A whole number. */
export function whole(least: number, most: number) {
  return reader(`a whole number from ${least} to ${most}`, (raw) => readWhole(raw, least, most));
}

/** One of a few words. */
export function oneOf<const T extends string>(words: readonly T[]) {
  return reader(`one of ${words.join(", ")}`, (raw) => words.find((word) => word === raw));
}

/** Several of a few words, each at most once, in an order that matters. */
export function orderOf<const T extends string>(words: readonly T[]) {
  return v.pipe(
    listOf(oneOf(words)),
    v.check((list) => new Set(list).size === list.length, "each word at most once"),
  );
}

/** Text without control characters; empty is `null`. */
export const optionalText = reader<string | null>("text on one line", (raw) => {
  if (typeof raw !== "string" || hasControls(raw)) return undefined;
  return raw === "" ? null : raw;
});

export const hostName = reader("a host name such as mail.example.org", (raw) => {
  return typeof raw === "string" && isHostName(raw) ? raw : undefined;
});

/** An address of mail, ASCII; empty is not one. */
export const mailAddress = reader("an address such as postmaster@example.org", (raw) => {
  return typeof raw === "string" && /^[\x21-\x7e]{1,64}@[A-Za-z0-9.-]{1,253}$/u.test(raw)
    ? raw
    : undefined;
});

const ABSOLUTE = 'an absolute path such as "/var/spool/slimta-queue"';

export const path = reader(ABSOLUTE, (raw) => (isAbsolute(raw) ? raw : undefined));

/** A path, or `null` for empty. */
export const optionalPath = reader<string | null>(`${ABSOLUTE}, or empty`, (raw) => {
  if (raw === "") return null;
  return isAbsolute(raw) ? raw : undefined;
});

/** The URL of a store, or `null` for the directory. */
export const storeUrl = reader<StoreUrl | null>(expectedStoreUrl, readStoreUrl);

export const hostPorts = listOf(
  reader("host:port such as 127.0.0.1:2525, 0.0.0.0:25 or [::1]:25", readHostPort),
);

export const endpoints = listOf<Endpoint>(
  reader("host:port such as 127.0.0.1:8425, or the path of a unix socket", readEndpoint),
);

export const networks = listOf(
  reader("a network such as 192.0.2.0/24 or 2001:db8::/32, no bits behind the prefix", readNetwork),
);

export const servers = listOf(reader("host:port such as 192.0.2.53:53 or [::1]:53", readHostPort));

/** A unix socket that must be made, one that is made where that is possible, or `null` for none. */
export interface SocketChoice {
  readonly path: string;
  /** False: go on without it when its directory cannot be made or another process listens there. */
  readonly required: boolean;
}

export const socketChoice = reader<SocketChoice | null>(
  'an absolute path of at most 107 bytes, "auto:" and such a path (used where possible), or "off"',
  (raw) => {
    if (raw === "off") return null;
    if (typeof raw !== "string") return undefined;
    const required = !raw.startsWith("auto:");
    const socket = required ? raw : raw.slice(5);
    return isSocketPath(socket) ? { path: socket, required } : undefined;
  },
);

const RELAY =
  "smtp://host:port, smtps://host:port (with user:password@ if needed), mx, blackhole or none";

/** What `relay.to` means as a whole. */
export const relayTarget = v.pipe(
  v.unknown(),
  // Here `none` is a word of its own, not the empty list.
  v.transform((raw) => (raw === "none" ? ["none"] : raw)),
  listOf(reader(RELAY, readRelayEntry)),
  v.rawTransform<readonly NonNullable<ReturnType<typeof readRelayEntry>>[], RelayTarget>(
    ({ dataset, addIssue, NEVER }) => {
      const target = relayTargetOf(dataset.value);
      if (target !== undefined) return target;
      addIssue({ message: "one of mx, blackhole and none alone, or a list of smtp URLs" });
      return NEVER;
    },
  ),
);

function relayTargetOf(
  entries: readonly NonNullable<ReturnType<typeof readRelayEntry>>[],
): RelayTarget | undefined {
  const [first] = entries;
  if (first !== undefined && first.kind !== "smarthost") {
    return entries.length === 1 ? { kind: first.kind } : undefined;
  }
  const hosts: Smarthost[] = [];
  for (const entry of entries) {
    if (entry.kind !== "smarthost") return undefined;
    const { kind: _, ...host } = entry;
    hosts.push(host);
  }
  return hosts.length === 0 ? undefined : { kind: "smarthost", hosts };
}

function isAbsolute(raw: unknown): raw is string {
  return typeof raw === "string" && raw.startsWith("/") && !hasControls(raw);
}

function hasControls(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return /[\u0000-\u001f\u007f]/u.test(text);
}
