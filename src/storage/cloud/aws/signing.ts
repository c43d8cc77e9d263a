import { AwsV4Signer } from "aws4fetch";
import type { Credentials } from "./credentials.ts";

export interface Signable {
  readonly method: string;
  /** Percent-encoded, without a literal `+`. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface SigningScope {
  readonly service: "s3" | "sqs";
  readonly region: string;
  readonly credentials: Credentials;
  /** The instant that the signature says, in milliseconds; servers refuse one that is a quarter of an hour off. */
  readonly at: number;
}

/**
 * The headers of a request, signed (Signature Version 4). What is in the body is signed as well, so that the server refuses
 * what was damaged on its way.
 */
export async function signedHeaders(
  { method, url, headers, body }: Signable,
  { service, region, credentials, at }: SigningScope,
): Promise<Headers> {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const signer = new QuickSigner({
    ...{ method, url, service, region, accessKeyId, secretAccessKey },
    headers: { ...headers, "x-amz-content-sha256": hashed(body) },
    datetime: basicTime(at),
    ...(sessionToken !== undefined && { sessionToken }),
  });
  return (await signer.sign()).headers;
}

/** The library's, with the platform's own hashes: those of Web Crypto go through a thread, three times for each request. */
class QuickSigner extends AwsV4Signer {
  override async signature(): Promise<string> {
    const canonical = hashed(await this.canonicalString());
    const text = ["AWS4-HMAC-SHA256", this.datetime, this.credentialString, canonical].join("\n");
    return hmac(keyFor(this)).update(text).digest("hex");
  }
}

type KeyScope = Pick<AwsV4Signer, "secretAccessKey" | "datetime" | "region" | "service">;

const keys = new Map<string, Uint8Array>();
/** A key is good for a day and a set of credentials. */
const KEYS_MAX = 16;

function keyFor({ secretAccessKey, datetime, region, service }: KeyScope): Uint8Array {
  const scope = [datetime.slice(0, 8), region, service, "aws4_request"];
  const name = [secretAccessKey, ...scope].join();
  const known = keys.get(name);
  if (known !== undefined) return known;
  const made = scope.reduce<Uint8Array>(
    (key, part) => hmac(key).update(part).digest(),
    new TextEncoder().encode(`AWS4${secretAccessKey}`),
  );
  if (keys.size >= KEYS_MAX) keys.clear();
  keys.set(name, made);
  return made;
}

function hmac(key: Uint8Array): Bun.CryptoHasher {
  return new Bun.CryptoHasher("sha256", key);
}

function hashed(data: Uint8Array | string): string {
  return new Bun.CryptoHasher("sha256").update(data).digest("hex");
}

/** `20301231T235959Z` */
function basicTime(at: number): string {
  return new Date(at).toISOString().replace(/[:-]|\.\d{3}/gu, "");
}
