import { isIP, isIPv4, isIPv6 } from "node:net";

/** A TCP endpoint. Port 0 asks the system for a free one. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where the admin endpoint listens. */
export type Endpoint =
  | ({ readonly kind: "tcp" } & HostPort)
  | { readonly kind: "unix"; readonly path: string };

const PORT_MAX = 65_535;
/** Linux keeps 108 bytes for the path of a socket, the last of them zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/** `host:port`, `[ipv6]:port`. The host is an address or a name. */
export function readHostPort(raw: unknown): HostPort | undefined {
  if (typeof raw !== "string") return undefined;
  const [, inBrackets, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/u.exec(raw) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > PORT_MAX) return undefined;
  if (inBrackets !== undefined) {
    return isIPv6(inBrackets) ? { host: inBrackets, port } : undefined;
  }
  return plain !== undefined && isHost(plain) ? { host: plain, port } : undefined;
}

/** `host:port`, or the absolute path of a unix socket, with or without `unix:` in front. */
export function readEndpoint(raw: unknown): Endpoint | undefined {
  if (typeof raw !== "string") return undefined;
  const path = raw.startsWith("unix:") ? raw.slice(5) : raw;
  if (path.startsWith("/")) return isSocketPath(path) ? { kind: "unix", path } : undefined;
  const tcp = readHostPort(raw);
  return tcp && { kind: "tcp", ...tcp };
}

/** An absolute path short enough for a unix socket. */
export function isSocketPath(path: string): boolean {
  return path.startsWith("/") && new TextEncoder().encode(path).byteLength <= SOCKET_PATH_BYTES_MAX;
}

/**
 * A network in CIDR notation, written canonically; an address alone is a network of one. A network with bits behind
 * its prefix (`10.0.0.5/8`) is refused: it is more likely a mistake than a wish.
 */
export function readNetwork(raw: unknown): string | undefined {
  if (typeof raw !== "string") return undefined;
  const [, address = "", length] = /^([^/]+)(?:\/(\d{1,3}))?$/u.exec(raw) ?? [];
  const bits = addressBits(address);
  if (bits === undefined) return undefined;
  const prefix = length === undefined ? bits.length : Number(length);
  if (prefix > bits.length || bits.indexOf("1", prefix) >= 0) return undefined;
  return `${address.toLowerCase()}/${prefix}`;
}

/** Whether a host is this machine's loopback. Only what is certain without asking DNS counts. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase().replace(/^::ffff:/u, "");
  return bare === "localhost" || bare === "::1" || (isIPv4(bare) && bare.startsWith("127."));
}

/** What can be connected to: an address without brackets or a name, in which containers may have underscores. */
export function isHost(text: string): boolean {
  return isIP(text) !== 0 || isHostName(text.replaceAll("_", "x"));
}

/** A host name by RFC 1123 §2.1; one label is enough, all digits are not. */
export function isHostName(text: string): boolean {
  if (text.length > 253 || /^[\d.]+$/u.test(text)) return false;
  return text
    .split(".")
    .every((label) => /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/u.test(label));
}

/** `host:port` with the brackets that IPv6 needs. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The bits of an address, most significant first, as text. */
function addressBits(address: string): string | undefined {
  if (isIPv4(address)) return bitsOf(address.split(".").map(Number), 8);
  if (!isIPv6(address) || address.includes("%")) return undefined;
  return bitsOf(ipv6Groups(address), 16);
}

function bitsOf(parts: readonly number[], width: number): string {
  return parts.map((part) => part.toString(2).padStart(width, "0")).join("");
}

/** The eight groups of a valid IPv6 address, also of one that ends in dotted form. */
function ipv6Groups(address: string): number[] {
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/u, (_, a, b, c, d) => {
    const high = Number(a) * 256 + Number(b);
    const low = Number(c) * 256 + Number(d);
    return `${high.toString(16)}:${low.toString(16)}`;
  });
  const [head = "", tail] = plain.split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const gap = tail === undefined ? 0 : 8 - front.length - back.length;
  const groups = [...front, ...Array.from({ length: gap }, () => "0"), ...back];
  return groups.map((group) => Number.parseInt(group, 16));
}
