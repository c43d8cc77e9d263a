import { readS3Url, type S3Address } from "../storage/cloud/s3-url.ts";
import { type RedisAddress, readRedisUrl } from "../storage/redis/redis-url.ts";
import { QUERY_LOGIN } from "./relay-url.ts";

/** Where the queue is kept when it is not in the directory `spool.dir`. */
export type StoreUrl =
  | { readonly kind: "memory" }
  | { readonly kind: "redis"; readonly address: RedisAddress }
  | { readonly kind: "s3"; readonly address: S3Address }
  | { readonly kind: "postgres"; readonly url: string };

const STORE_URL =
  "memory:, redis://user:password@host/database (rediss:, redis+sentinel:, redis+cluster:), postgres://user:password@host/database, s3://key:secret@bucket/prefix, or empty for spool.dir";

const DIRECTORY = "a directory is named by its absolute path, such as /var/spool/slimta-queue";

/** What is said when it is none of these. */
export function expectedStoreUrl(raw: unknown): string {
  const reading = typeof raw === "string" ? readS3Url(raw) : undefined;
  if (reading !== undefined && "expected" in reading) return reading.expected;
  const isPerhapsName = typeof raw === "string" && !raw.includes("://");
  return isPerhapsName ? `${STORE_URL}; ${DIRECTORY}` : STORE_URL;
}

/** Reads `spool.url`; `null` for empty, and `undefined` for what it does not know. */
export function readStoreUrl(raw: unknown): StoreUrl | null | undefined {
  if (raw === "") return null;
  if (raw === "memory:") return { kind: "memory" };
  if (typeof raw !== "string") return undefined;
  const address = readRedisUrl(raw);
  if (address !== undefined) return { kind: "redis", address };
  const reading = readS3Url(raw);
  if (reading !== undefined) {
    return "address" in reading ? { kind: "s3", address: reading.address } : undefined;
  }
  // Where nobody looks for a login it would be shown.
  if (!URL.canParse(raw) || raw.search(QUERY_LOGIN) >= 0) return undefined;
  return /^postgres(?:ql)?:\/\//u.test(raw) ? { kind: "postgres", url: raw } : undefined;
}

/** Whether what `--spool` was given is the URL of a store; else it is a directory. */
export function isStoreUrl(text: string): boolean {
  return /^[a-z][a-z0-9+]*:/u.test(text);
}
