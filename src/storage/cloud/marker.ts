import { DUE } from "./keys.ts";

/**
 * An empty object whose key says when a message wants attention: the schedule is what a list of such keys says, in the
 * order of time. Each version of a message's state has its own. It is put before the version that it belongs to, and the
 * one before is removed after: a state in force always has its marker, so that no message is forgotten. A marker without its
 * state may be left behind; who looks at it reads the state and then knows better.
 */
export interface Marker {
  /** When to look, by the store's clock; never before the instant at which it was put. */
  readonly at: number;
  readonly id: string;
  readonly born: string;
  readonly version: number;
  /** Of the write that it belongs to: when two want to write the same version, one takes back its own marker only. */
  readonly token: string;
  /** What a flush compares: whoever waits in an older epoch is due at once. */
  readonly epoch: number;
  readonly phase: Phase;
  /** An attempt was made. */
  readonly isTried: boolean;
  /** The next attempt, by the store's clock; it may be long past. */
  readonly due: number;
  /** Octets of content. */
  readonly size: number;
  readonly domain: string;
}

/** `sending`: its outbox is on its way. `ended`: the same or not, and nothing is left behind that but its removal. */
export type Phase = "waiting" | "leased" | "held" | "sending" | "ended";

/** Where the marker of a held message stands: behind all others. */
export const HELD_AT = 9_999_999_999_999;

const AT_DIGITS = 13;
/** No name in the DNS is longer; what is behind that decides nothing. */
const DOMAIN_CHARS_MAX = 255;
const ESCAPED_CHARS_MAX = 500;

const LETTERS: Readonly<Record<Phase, string>> = {
  waiting: "w",
  leased: "l",
  held: "h",
  sending: "o",
  ended: "x",
};
const PHASES: ReadonlyMap<string, Phase> = new Map(
  (Object.entries(LETTERS) as [Phase, string][]).map(([phase, letter]) => [letter, phase]),
);

export function markerKey(marker: Marker): string {
  const { id, born, version, token, epoch, phase, isTried, due, size, domain } = marker;
  const letters = `${isTried ? "d" : "i"}${LETTERS[phase]}`;
  const facts = [id, born, version, token, epoch, letters, due, size, escapeDomain(domain)];
  return `${dueFrom(marker.at)}.${facts.join(".")}`;
}

/** Where markers of this instant begin. */
export function dueFrom(at: number): string {
  const bounded = Math.min(Math.max(0, Math.floor(at)), HELD_AT);
  return `${DUE}${String(bounded).padStart(AT_DIGITS, "0")}`;
}

const KEY =
  /^due\/(\d{13})\.([\w-]{1,64})\.([0-9A-Z]{1,16})\.(\d+)\.([0-9A-Z]{1,16})\.(\d+)\.([id])([wlhox])\.(-?\d+)\.(\d+)\.(.*)$/u;

/** `undefined`: no marker has such a key. */
export function parseMarker(key: string): Marker | undefined {
  const found = KEY.exec(key);
  if (found === null) return undefined;
  const [, at, id = "", born = "", version, token = "", epoch, tried, letter = "", ...rest] = found;
  const [due, size, domain = ""] = rest;
  return {
    at: Number(at),
    id,
    born,
    version: Number(version),
    token,
    epoch: Number(epoch),
    phase: PHASES.get(letter) ?? "waiting",
    isTried: tried === "d",
    due: Number(due),
    size: Number(size),
    domain: unescapeDomain(domain),
  };
}

/** Keys are of few characters, and what stands behind the @ is whatever a client sent. */
function escapeDomain(domain: string): string {
  const known = domain.slice(0, DOMAIN_CHARS_MAX).toWellFormed();
  return known.replaceAll(/[^a-z0-9.-]/gu, escapeCharacter).slice(0, ESCAPED_CHARS_MAX);
}

function escapeCharacter(character: string): string {
  const octets = Array.from(Buffer.from(character), (octet) => octet.toString(16).padStart(2, "0"));
  return `_${octets.join("_")}`;
}

function unescapeDomain(text: string): string {
  if (!text.includes("_")) return text;
  const octets = text.replaceAll(/_([0-9a-f]{2})/gu, "%$1");
  try {
    return decodeURIComponent(octets);
  } catch {
    return text;
  }
}
