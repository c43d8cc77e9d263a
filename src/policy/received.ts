import { asciiDomain, isAscii } from "../mail/address.ts";
import { formatDate } from "../mail/date.ts";
import type { Client, Envelope } from "../mail/envelope.ts";
import { withField } from "../mail/header.ts";
import type { Policy } from "./policy.ts";

/** How much of a name that a client gave is repeated: the longest domain of RFC 1035. */
const NAME_MAX = 255;
/** Longer paths than RFC 5321 §4.5.3.1.3 allows are not repeated. */
const PATH_MAX = 256;

/**
 * Adds `Received` on top (RFC 5321 §4.4): the parent's `AddReceivedHeader`. Its `for` clause names a recipient only
 * when there is just one, so that nobody learns of another. Whatever the client said is made harmless.
 */
export const addReceivedHeader: Policy = (envelope, { id }) => {
  const clauses = [
    ...fromClauses(envelope.client),
    `by ${safeName(envelope.receiver)} (slimta-queue)${withClause(envelope.client)} id ${id}`,
    ...forClauses(envelope),
  ];
  const field = `Received: ${clauses.join("\r\n\t")};\r\n\t${formatDate(envelope.receivedAt)}`;
  return [{ ...envelope, content: withField(envelope.content, field) }];
};

function fromClauses(client: Client): string[] {
  if (client.ip === "" || client.protocol === "LOCAL") return [];
  const from = `from ${safeName(client.name)} (${safeName(client.host)} ${literal(client.ip)})`;
  return client.tls === undefined ? [from] : [from, `(using ${safeTls(client.tls)})`];
}

/** `LOCAL` is no protocol of RFC 5321 §4.4: what was made here came by none. */
function withClause(client: Client): string {
  const isProtocol = /^[A-Z0-9]{1,32}$/u.test(client.protocol) && client.protocol !== "LOCAL";
  return isProtocol ? ` with ${client.protocol}` : "";
}

function forClauses({ recipients, smtpUtf8 }: Envelope): string[] {
  const [only, ...more] = recipients;
  if (!only || more.length > 0 || only.address.length > PATH_MAX) return [];
  if (/[\p{Cc}\p{Zl}\p{Zp}<>]/u.test(only.address)) return [];
  return smtpUtf8 || isAscii(only.address) ? [`for <${only.address}>`] : [];
}

/** `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3). */
function literal(ip: string): string {
  const safe = ip.replace(/[^0-9A-Fa-f.:]/gu, "?").slice(0, NAME_MAX);
  return safe.includes(":") ? `[IPv6:${safe}]` : `[${safe}]`;
}

/** A domain or an address literal; `?` in place of what can stand in neither. */
function safeName(name: string): string {
  const ascii = isAscii(name) ? name : (asciiDomain(name) ?? name);
  return ascii.replace(/[^0-9A-Za-z.:_[\]-]/gu, "?").slice(0, NAME_MAX) || "unknown";
}

/** `TLSv1.3 with cipher TLS_AES_256_GCM_SHA384`, without what would end or nest a comment. */
function safeTls(tls: string): string {
  const safe = tls.replace(/[^0-9A-Za-z._: -]/gu, "?").slice(0, NAME_MAX);
  return safe.replace(" ", " with cipher ");
}
