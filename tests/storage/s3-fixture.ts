import type { World } from "../../src/lib/world.ts";
import { realWorld } from "../../src/lib/world.ts";
import { fixedCredentials } from "../../src/storage/cloud/aws/credentials.ts";
import { openS3, type S3Store } from "../../src/storage/cloud/s3/open-s3.ts";
import type { S3RequestsParts } from "../../src/storage/cloud/s3/requests.ts";
import { ACCESS_KEY, SECRET_KEY } from "../support/ceph.ts";

export const LOGIN = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };

interface Given extends Partial<Omit<S3RequestsParts, "place">> {
  readonly isPathStyle?: boolean;
  readonly region?: string;
  readonly world?: World;
}

/** A client of this bucket that has looked at nothing yet. */
export function bucketAt(endpoint: string, bucket: string, given: Given = {}): S3Store {
  const { isPathStyle = true, region = "us-east-1", ...parts } = given;
  const place = { endpoint, bucket, region, isPathStyle };
  return openS3({ place, credentials: fixedCredentials(LOGIN), world: realWorld, ...parts });
}

export const octets = (text: string) => new TextEncoder().encode(text);
export const textIn = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

/** Octets that a stream gives. */
export async function drained(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
