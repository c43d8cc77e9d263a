import { isIP } from "node:net";

/** Where a queue is in a cloud, how it is reached, and what is asked of it: the URL of `spool.url` taken apart. */
export interface S3Address {
  readonly bucket: string;
  /** What the keys of all objects begin with: empty, or with a slash at its end. */
  readonly prefix: string;
  /** `https://host[:port]`; Amazon's for the region without it. */
  readonly endpoint: string | null;
  readonly region: string | null;
  /** Whether the bucket is named in the path (`endpoint/bucket/key`) or in the host. */
  readonly isPathStyle: boolean;
  /** From in front of the `@`; else credentials are looked for where such programs do. */
  readonly accessKeyId: string | null;
  readonly secretAccessKey: string | null;
  /** PEM file of the authority that signed the servers' certificates; the system's own without it. */
  readonly caFile: string | null;
  /** The queue that wakes other nodes, by its URL or its name; without it they look from time to time. */
  readonly sqs: string | null;
  readonly sqsEndpoint: string | null;
  /** How often to look what other nodes did. */
  readonly pollMs: number | null;
  /** Somebody promises that no other node uses this queue: then the store need not know conditions. */
  readonly isOnlyNode: boolean;
}

/** How such a URL looks, for whoever wrote another one. */
export const S3_URL = "s3://[key:secret@]bucket[/prefix][?endpoint=...&region=...&sqs=...]";

/** An address, or what was expected instead. */
export type S3UrlReading = { readonly address: S3Address } | { readonly expected: string };

const SHAPE =
  /^s3:\/\/(?:(?<login>[^?\s]*)@)?(?<bucket>[^/?#@\s]+)(?:\/(?<prefix>[^?#\s]*))?(?:\?(?<query>[^#\s]*))?$/u;
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/u;
const PREFIX = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/u;
const PREFIX_MAX = 200;

/** Takes a URL apart; `undefined` when it is none of S3. */
export function readS3Url(text: string): S3UrlReading | undefined {
  if (!text.startsWith("s3:")) return undefined;
  const parts = SHAPE.exec(text)?.groups;
  if (parts === undefined) return { expected: S3_URL };
  const place = readPlace(parts.bucket ?? "", (parts.prefix ?? "").replace(/\/$/u, ""));
  const login = readLogin(parts.login);
  const asked = readQuery(new URLSearchParams(parts.query ?? ""));
  if (typeof place === "string") return { expected: place };
  if (login === undefined) return { expected: `key:secret in front of the @ of ${S3_URL}` };
  if (typeof asked === "string") return { expected: asked };
  const isPathStyle = asked.path_style ?? (asked.endpoint !== null || place.bucket.includes("."));
  const missing = missingWith(asked, isPathStyle);
  if (missing !== undefined) return { expected: missing };
  return {
    address: {
      ...{ ...place, ...login, isPathStyle },
      ...{ endpoint: asked.endpoint, region: asked.region, caFile: asked.ca_file },
      ...{ sqs: asked.sqs, sqsEndpoint: asked.sqs_endpoint, pollMs: asked.poll },
      isOnlyNode: asked.nodes !== null,
    },
  };
}

function readPlace(bucket: string, prefix: string): Pick<S3Address, "bucket" | "prefix"> | string {
  if (!BUCKET.test(bucket)) return `the name of a bucket in ${S3_URL}`;
  if (prefix === "") return { bucket, prefix };
  const isGood = PREFIX.test(prefix) && prefix.length <= PREFIX_MAX;
  if (!isGood) return `letters, digits, . _ and - between the slashes behind s3://${bucket}`;
  return { bucket, prefix: `${prefix}/` };
}

/** What does not go together. */
function missingWith(asked: Asked, isPathStyle: boolean): string | undefined {
  if (!isPathStyle && isIP(hostOf(asked.endpoint)) !== 0) {
    return "path_style=yes, since the endpoint is an address, or a name for it";
  }
  // What is not Amazon's has its queues somewhere else.
  const isNamed = asked.sqs !== null && !isUrl(asked.sqs);
  return isNamed && asked.endpoint !== null && asked.sqs_endpoint === null
    ? "sqs_endpoint=... to say whose queue that is, or the URL of the queue"
    : undefined;
}

/** The same without what is secret, for logs and people. */
export function shownS3Url({ bucket, prefix, endpoint }: S3Address): string {
  const path = prefix === "" ? "" : `/${prefix.slice(0, -1)}`;
  return `s3://${bucket}${path}${endpoint === null ? "" : `?endpoint=${endpoint}`}`;
}

function readLogin(
  text: string | undefined,
): Pick<S3Address, "accessKeyId" | "secretAccessKey"> | undefined {
  if (text === undefined) return { accessKeyId: null, secretAccessKey: null };
  const [, key = "", secret = ""] = /^([^:]+):(.+)$/u.exec(text) ?? [];
  if (key === "") return undefined;
  return { accessKeyId: decode(key), secretAccessKey: decode(secret) };
}

/** A parameter: how it is read, and how it looks. */
interface Parameter<T> {
  readonly looks: string;
  read(text: string): T | undefined;
}

const POLL_MS_MIN = 100;
const POLL_MS_MAX = 3_600_000;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

const PARAMETERS = {
  endpoint: origin("endpoint"),
  region: matching("region=eu-central-1, such letters, digits and -", /^[a-z0-9-]{1,32}$/u),
  path_style: {
    looks: "path_style=yes or path_style=no",
    read: (text) => ({ yes: true, no: false })[text],
  } as Parameter<boolean>,
  ca_file: matching("ca_file=/path/of/a.pem", /^\/.+$/u),
  sqs: {
    looks: "sqs=NAME or sqs=https://host/account/NAME, of a standard queue",
    read: (text) => (/^[A-Za-z0-9_-]{1,80}$/u.test(text) || isQueueUrl(text) ? text : undefined),
  } as Parameter<string>,
  sqs_endpoint: origin("sqs_endpoint"),
  poll: { looks: "poll=1s, from 100ms to 60m", read: readPause } as Parameter<number>,
  nodes: matching("nodes=1, or nothing of it", /^1$/u),
};

type Asked = {
  readonly [Name in keyof typeof PARAMETERS]: NonNullable<
    ReturnType<(typeof PARAMETERS)[Name]["read"]>
  > | null;
};

/** All that is asked behind the `?`, or what was expected there. */
function readQuery(query: URLSearchParams): Asked | string {
  const names = Object.keys(PARAMETERS);
  const asked: Record<string, unknown> = Object.fromEntries(names.map((name) => [name, null]));
  for (const [name, text] of query) {
    if (!names.includes(name)) return `no parameters of s3: but ${names.join(", ")}`;
    const { looks, read }: Parameter<unknown> = PARAMETERS[name as keyof typeof PARAMETERS];
    const value = asked[name] === null ? read(text) : undefined;
    if (value === undefined) return `${looks}, once`;
    asked[name] = value;
  }
  return asked as Asked;
}

function matching(looks: string, pattern: RegExp): Parameter<string> {
  return { looks, read: (text) => (pattern.test(text) ? text : undefined) };
}

function origin(name: string): Parameter<string> {
  return {
    looks: `${name}=http://host:port or ${name}=https://host`,
    read(text) {
      if (!isUrl(text)) return undefined;
      const url = new URL(text);
      const isBare = url.href === `${url.origin}/`;
      return isBare ? url.origin : undefined;
    },
  };
}

function isUrl(text: string): boolean {
  return /^https?:\/\//u.test(text) && URL.canParse(text);
}

function isQueueUrl(text: string): boolean {
  if (!isUrl(text)) return false;
  const { username, password, search, hash, pathname } = new URL(text);
  return username + password + search + hash === "" && /[A-Za-z0-9_-]$/u.test(pathname);
}

function readPause(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,6})(ms|s|m)$/u.exec(text) ?? [];
  const ms = Number(digits) * (UNIT_MS[unit] ?? Number.NaN);
  return ms >= POLL_MS_MIN && ms <= POLL_MS_MAX ? ms : undefined;
}

function hostOf(endpoint: string | null): string {
  return endpoint === null ? "" : new URL(endpoint).hostname.replace(/^\[|\]$/gu, "");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
