import { AwsV4Signer } from "aws4fetch";
import type { Credentials } from "./credentials.ts";

export interface Signable {
  readonly method: string;
  /** Percent-encoded, without a literal `+`. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string;
}

export interface SigningScope {
  readonly service: "s3" | "sqs";
  readonly region: string;
  readonly credentials: Credentials;
  /** The instant that the signature says, in milliseconds; servers refuse one that is a quarter of an hour off. */
  readonly at: number;
}

const keys = new Map<string, ArrayBuffer>();
/** A key is good for a day and a set of credentials. */
const KEYS_MAX = 16;

/**
 * The headers of a request, signed (Signature Version 4). What is in the body is signed as well, so that the server refuses
 * what was damaged on its way.
 */
export async function signedHeaders(
  { method, url, headers, body }: Signable,
  { service, region, credentials, at }: SigningScope,
): Promise<Headers> {
  if (keys.size > KEYS_MAX) keys.clear();
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const signer = new AwsV4Signer({
    ...{ method, url, service, region, cache: keys, accessKeyId, secretAccessKey },
    headers: { ...headers, "x-amz-content-sha256": sha256(body) },
    datetime: basicTime(at),
    ...(sessionToken !== undefined && { sessionToken }),
  });
  return (await signer.sign()).headers;
}

function sha256(body: Uint8Array | string): string {
  return new Bun.CryptoHasher("sha256").update(body).digest("hex");
}

/** `20301231T235959Z` */
function basicTime(at: number): string {
  return new Date(at).toISOString().replace(/[:-]|\.\d{3}/gu, "");
}
