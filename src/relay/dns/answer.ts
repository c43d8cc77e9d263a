import type { Answer, DecodedPacket, SoaAnswer } from "dns-packet";

export type QueryType = "A" | "AAAA" | "MX";

/** What one response says about one question. */
export type QueryAnswer =
  | { readonly kind: "found"; readonly answers: readonly Answer[]; readonly ttlS: number }
  | { readonly kind: "no-name" | "no-data"; readonly ttlS: number }
  | { readonly kind: "failed"; readonly detail: string };

/** Aliases followed inside one response. */
export const ALIASES_MAX = 10;

/** How long a missing name is believed when the response does not say (RFC 2308 §5 leaves it uncached). */
const NEGATIVE_TTL_S = 60;

const RCODES: Record<number, string> = { 1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED" };

/** Reads a whole response. Aliases are followed as far as the response goes (RFC 1034 §3.6.2). */
export function readResponse(packet: DecodedPacket, name: string, type: QueryType): QueryAnswer {
  const rcode = (packet.flags ?? 0) & 0x0f;
  if (rcode !== 0 && rcode !== 3)
    return { kind: "failed", detail: RCODES[rcode] ?? `RCODE ${rcode}` };
  const { owner, ttlS } = followAliases(packet.answers ?? [], name);
  const found = (packet.answers ?? []).filter(
    (answer) => answer.type === type && sameName(answer.name, owner),
  );
  if (found.length > 0) {
    return { kind: "found", answers: found, ttlS: Math.min(ttlS, ...found.map(ttlOf)) };
  }
  return { kind: rcode === 3 ? "no-name" : "no-data", ttlS: Math.min(ttlS, negativeTtlOf(packet)) };
}

function followAliases(
  answers: readonly Answer[],
  name: string,
): { readonly owner: string; readonly ttlS: number } {
  let owner = name;
  let ttlS = Number.POSITIVE_INFINITY;
  for (let hop = 0; hop < ALIASES_MAX; hop += 1) {
    const alias = answers.find((answer) => answer.type === "CNAME" && sameName(answer.name, owner));
    if (alias?.type !== "CNAME") break;
    ttlS = Math.min(ttlS, ttlOf(alias));
    owner = alias.data;
  }
  return { owner, ttlS };
}

/** RFC 2308 §5: the lesser of the SOA's own TTL and its minimum. */
function negativeTtlOf({ authorities }: DecodedPacket): number {
  const soa = authorities?.find((answer): answer is SoaAnswer => answer.type === "SOA");
  return soa ? Math.min(ttlOf(soa), soa.data.minimum ?? NEGATIVE_TTL_S) : NEGATIVE_TTL_S;
}

function ttlOf(answer: Answer): number {
  return "ttl" in answer ? Number(answer.ttl ?? 0) : 0;
}

/** Names are compared without regard to case or the final dot. */
export function sameName(one: string, other: string): boolean {
  return plainName(one) === plainName(other);
}

export function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/u, "");
}

/** Whether a name can be asked for at all (RFC 1035 §2.3.4). */
export function isAskable(name: string): boolean {
  return (
    name.length > 0 &&
    name.length <= 253 &&
    name.split(".").every((label) => /^[\x21-\x7e]{1,63}$/u.test(label))
  );
}
