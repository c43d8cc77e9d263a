/** Where a bucket is, and how its objects are named in URLs. */
export interface S3Place {
  /** `https://host[:port]`, without a path. */
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  /** `endpoint/bucket/key`; else `bucket.host/key`. */
  readonly isPathStyle: boolean;
}

/** Every URL parser would take these away and mean another object. */
const DOTS = /(?:^|\/)\.{1,2}(?:\/|$)/u;

/** The URL of an object, or of the bucket when `key` is empty. */
export function objectUrl(
  { endpoint, bucket, isPathStyle }: S3Place,
  key: string,
  query: Readonly<Record<string, string>> = {},
): string {
  if (DOTS.test(key)) throw new Error(`no key of an object: ${key}`);
  const url = new URL(endpoint);
  const host = isPathStyle ? url.host : `${bucket}.${url.host}`;
  const path = isPathStyle ? `/${bucket}/${key}` : `/${key}`;
  const asked = Object.entries(query).map(([name, value]) => `${name}=${percentEncode(value)}`);
  return `${url.protocol}//${host}${path.split("/").map(percentEncode).join("/")}${
    asked.length === 0 ? "" : `?${asked.join("&")}`
  }`;
}

/** What RFC 3986 leaves unreserved stays; a `+` never does, which some read as a space. */
export function percentEncode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/gu,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
