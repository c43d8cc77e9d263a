import { isHost } from "./network.ts";

/** Where all mail goes: one of the words, or next hops in the order in which they are tried. */
export type RelayTarget =
  | { readonly kind: "mx" }
  | { readonly kind: "blackhole" }
  | { readonly kind: "none" }
  | { readonly kind: "smarthost"; readonly hosts: readonly Smarthost[] };

export interface Smarthost {
  readonly host: string;
  readonly port: number;
  /** TLS from the first byte (RFC 8314), as `smtps://` says; else STARTTLS as `relay.tls` says. */
  readonly implicitTls: boolean;
  /** From the URL; `relay.username` and `relay.password` fill in for URLs without. */
  readonly username: string | null;
  readonly password: string | null;
}

/** One entry of `relay.to`. */
export type RelayEntry =
  | { readonly kind: "mx" | "blackhole" | "none" }
  | ({ readonly kind: "smarthost" } & Smarthost);

const DEFAULT_PORTS = { smtp: 25, smtps: 465 } as const;

/** `smtp://[user:password@]host[:port]`, `smtps://...`, `mx`, `blackhole` or `none`. */
export function readRelayEntry(raw: unknown): RelayEntry | undefined {
  if (raw === "mx" || raw === "blackhole" || raw === "none") return { kind: raw };
  if (typeof raw !== "string") return undefined;
  // The last `@` divides: passwords are often pasted unescaped.
  const [, scheme, userinfo, hostText = "", digits] =
    /^(smtps?):\/\/(?:(.*)@)?(\[[^\]@]+\]|[^:/?#@[\]\s]+)(?::(\d{1,5}))?\/?$/u.exec(raw) ?? [];
  if (scheme !== "smtp" && scheme !== "smtps") return undefined;
  const host = hostText.replace(/^\[|\]$/gu, "");
  const port = digits === undefined ? DEFAULT_PORTS[scheme] : Number(digits);
  const login = readUserinfo(userinfo);
  if (!isHost(host) || port < 1 || port > 65_535 || login === undefined) return undefined;
  return { kind: "smarthost", host, port, implicitTls: scheme === "smtps", ...login };
}

/**
 * The relay URL of a `RELAYHOST` as Postfix images know it: `host`, `host:port`, `[host]:port`. Brackets only say
 * "no MX lookup", which is so for every host here. Port 465 means TLS from the first byte.
 */
export function relayhostUrl(value: string): string {
  if (value.includes("://")) return value;
  const [, inside, outside = "", port = "25"] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d+))?$/u.exec(value.trim()) ?? [];
  const bare = inside ?? outside;
  const host = bare.includes(":") ? `[${bare}]` : bare;
  if (host === "") return value;
  return `${port === "465" ? "smtps" : "smtp"}://${host}:${port}`;
}

/**
 * Hides the login in one URL, also in a broken one: `smtp://user:word@host` becomes
 * `smtp://<secret>@host`.
 */
export function redactLogin(entry: string): string {
  const shown = entry.replace(/^(.*?:\/\/)?.*@/su, (_, scheme: string | undefined) => {
    return `${scheme ?? ""}<secret>@`;
  });
  if (shown !== entry) return withoutQueryLogin(shown);
  // `smtp://user:word` lost its host; what stands where the port should is not to be shown.
  return withoutQueryLogin(entry.replace(LOST_HOST, "$1<secret>"));
}

function withoutQueryLogin(url: string): string {
  return url.replace(QUERY_LOGIN, "$1<secret>");
}

/** What some programs take as a login behind a `?`; nothing here does. */
export const QUERY_LOGIN = /([?&][^=&]*(?:pass|pwd|user|secret|token)[^=&]*=)[^&]*/giu;

/** A scheme and then neither an address in brackets nor a name, with at most a port behind it. */
const LOST_HOST = /^(.*?:\/\/)(?!\[[\dA-Fa-f:.]*\](?::\d{0,6}\/?)?$)[^:?]*:(?!\d{1,5}\/?$).*$/su;

function readUserinfo(
  text: string | undefined,
): { username: string | null; password: string | null } | undefined {
  if (text === undefined) return { username: null, password: null };
  const colon = text.indexOf(":");
  if (colon <= 0) return undefined;
  return { username: decode(text.slice(0, colon)), password: decode(text.slice(colon + 1)) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
