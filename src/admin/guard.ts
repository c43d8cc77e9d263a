import { createHash, timingSafeEqual } from "node:crypto";
import type { Problem } from "./problem.ts";

/** What the server knows of a request besides the request. */
export interface AdminEnv {
  /** The address of the peer, `unix` on a unix socket; absent when nobody knows. */
  readonly peer?: string;
}

export interface GuardOptions {
  /** Without one only this host may ask. */
  readonly token: string | undefined;
  /** Names of this host that a `Host` header may have, besides the loopback ones. */
  readonly hosts: readonly string[];
}

export interface Guard {
  /** Why a request is refused, if it is. */
  check(request: Request, env: AdminEnv): Problem | undefined;
  /** Whether the request may see everything: false for a probe without the token. */
  isTrusted(request: Request, env: AdminEnv): boolean;
}

const PROBES = new Set(["/livez", "/readyz", "/healthz", "/healthz/live", "/healthz/ready"]);

/**
 * Decides who may ask (P11): nobody from elsewhere without the token, no web page of anybody else (it may have sent a
 * browser here, by a foreign origin or by a name that it pointed at us), nothing with a body. Probes need no token.
 */
export function openGuard({ token, hosts }: GuardOptions): Guard {
  const names = new Set(hosts.map((name) => name.toLowerCase()));
  const hasToken = tokenCheck(token);

  const isTrusted = (request: Request, env: AdminEnv) =>
    env.peer === "unix" || (token === undefined ? isLoopback(env.peer) : hasToken(request));

  return {
    isTrusted,
    check(request, env) {
      const trusted = isTrusted(request, env);
      // A page that rebinds a name to this host has no token, and no browser opens a unix socket.
      const proven = trusted && (token !== undefined || env.peer === "unix");
      return (
        (proven ? undefined : wrongHost(request, names, token !== undefined)) ??
        brokenUrl(request) ??
        foreignOrigin(request) ??
        (trusted ? undefined : notTrusted(request, token !== undefined)) ??
        unwantedBody(request)
      );
    },
  };
}

/** Compares in constant time; the digests make the lengths equal. */
function tokenCheck(token: string | undefined): (request: Request) => boolean {
  if (token === undefined) return () => false;
  const expected = digest(token);
  return (request) => {
    const [, given] = /^Bearer +(\S+)\s*$/iu.exec(request.headers.get("authorization") ?? "") ?? [];
    return given !== undefined && timingSafeEqual(digest(given), expected);
  };
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

function isLoopback(peer: string | undefined): boolean {
  return peer === undefined || peer === "::1" || /^(?:::ffff:)?127\./iu.test(peer);
}

function wrongHost(
  request: Request,
  names: ReadonlySet<string>,
  addressesToo: boolean,
): Problem | undefined {
  const host = hostOf(request);
  const name = host === undefined ? "" : host.hostname.replace(/\.$/u, "");
  const known = isLoopbackName(name) || names.has(name) || (addressesToo && isAddress(name));
  if (known) return undefined;
  const detail =
    "This Host is not one of ours. Ask localhost, or the unix socket, or set admin.token and send it.";
  return { status: 421, detail };
}

/** A Host that is no host makes a URL that nothing can be read from. */
function brokenUrl(request: Request): Problem | undefined {
  if (URL.parse(request.url) !== null && hostOf(request) !== undefined) return undefined;
  return { status: 400, detail: "The Host of the request is not one." };
}

function isLoopbackName(name: string): boolean {
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d+){3}$/u.test(name);
}

/** A browser that went to an address was pointed there by nobody's DNS. */
function isAddress(name: string): boolean {
  return name.startsWith("[") || /^\d+(?:\.\d+){3}$/u.test(name);
}

function hostOf(request: Request): URL | undefined {
  const host = request.headers.get("host") ?? URL.parse(request.url)?.host ?? "";
  return URL.parse(`http://${host}/`) ?? undefined;
}

function foreignOrigin(request: Request): Problem | undefined {
  const origin = request.headers.get("origin");
  const detail = "Pages of other origins may not use this.";
  if (origin !== null) {
    const same = URL.parse(origin)?.host === hostOf(request)?.host;
    return same ? undefined : { status: 403, detail };
  }
  const changes = request.method !== "GET" && request.method !== "HEAD";
  return changes && isBrowser(request) ? { status: 403, detail } : undefined;
}

function isBrowser({ headers }: Request): boolean {
  return headers.has("sec-fetch-site") || /^mozilla\//iu.test(headers.get("user-agent") ?? "");
}

function notTrusted(request: Request, hasToken: boolean): Problem | undefined {
  if (!hasToken) {
    const detail = "Only this host may ask. To ask from elsewhere, set admin.token and send it.";
    return { status: 403, detail };
  }
  if (PROBES.has(new URL(request.url).pathname)) return undefined;
  return {
    status: 401,
    detail: "Send the token of admin.token: Authorization: Bearer TOKEN.",
    headers: { "WWW-Authenticate": 'Bearer realm="slimta-queue"' },
  };
}

function unwantedBody({ headers }: Request): Problem | undefined {
  const length = headers.get("content-length") ?? "0";
  if (length === "0" && !headers.has("transfer-encoding")) return undefined;
  return { status: 400, detail: "No request here has a body: everything is in the URL." };
}
