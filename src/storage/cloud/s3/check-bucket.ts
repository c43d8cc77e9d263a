import { QueueError } from "../../../mail/queue-error.ts";
import { StoreConfigError } from "../../store-config-error.ts";
import { isTlsError } from "../aws/exchange.ts";
import { conditionHeaders, type EtagForm, REFUSED } from "./conditions.ts";
import type { S3Place } from "./place.ts";
import type { S3Requests } from "./requests.ts";
import { S3Error } from "./s3-error.ts";

export interface StoreTraits {
  /** Whether writes are refused when their condition does not hold: without that two nodes may hold one message. */
  readonly isConditional: boolean;
  readonly etagForm: EtagForm;
}

/**
 * Does with an object of this key all that a queue does, and finds out what conditions the store knows. Rejects with
 * `StoreConfigError` when somebody has to change something first.
 */
export async function checkBucket(
  requests: S3Requests,
  place: S3Place,
  key: string,
): Promise<StoreTraits> {
  try {
    const asked = { "list-type": "2", "max-keys": "1", prefix: key };
    await requests.send({ kind: "LIST", query: asked, isRepeatable: true });
    const body = probe("first");
    const first = await requests.send({ kind: "PUT", key, body, isRepeatable: true });
    const traits = await traitsOf(requests, key, first.headers.get("etag") ?? "");
    await requests.send({ kind: "GET", key, isRepeatable: true });
    await requests.send({ kind: "DELETE", key, isRepeatable: true });
    return traits;
  } catch (error) {
    throw startError(place, error);
  }
}

function probe(text: string): Uint8Array {
  return new TextEncoder().encode(`a test of what this store can do: ${text}`);
}

/** The object is there already, in the version `first`. */
async function traitsOf(requests: S3Requests, key: string, first: string): Promise<StoreTraits> {
  const isRefused = async (text: string, headers: Readonly<Record<string, string>>) => {
    // A condition that held does not hold when the same is sent again: the store would seem to know none.
    const asked = { kind: "PUT", key, headers, body: probe(text), isRepeatable: false } as const;
    const { status } = await requests.send({ ...asked, expected: [...REFUSED, 501] });
    if (status === 501) return undefined;
    return REFUSED.includes(status);
  };
  const none: StoreTraits = { isConditional: false, etagForm: "quoted" };
  if (!(await isRefused("over what is there", conditionHeaders("absent", "quoted")))) return none;
  for (const etagForm of ["quoted", "bare"] as const) {
    const headers = conditionHeaders({ version: first }, etagForm);
    if ((await isRefused("instead of the first", headers)) !== false) continue;
    // The first version is there no more.
    return { isConditional: (await isRefused("too late", headers)) === true, etagForm };
  }
  return none;
}

/** What somebody can do about it, by the code of the answer. */
const ADVICE: Readonly<Record<string, string>> = {
  NoSuchBucket: "there is no such bucket: make it, or name another",
  AccessDenied: "these credentials may not list, read, write and remove there: grant it to them",
  SignatureDoesNotMatch: "the secret key is wrong",
  InvalidAccessKeyId: "the store does not know this access key",
  InvalidToken: "the session token is wrong",
  ExpiredToken: "the session token is over: get another",
  AccountProblem: "the account is locked",
  InvalidBucketName: "this is no name for a bucket",
};

const REDIRECTED = new Set([301, 307, 308]);

/** The same in words for whoever starts the process. */
function startError(place: S3Place, error: unknown): Error {
  const where = `cannot use the bucket ${place.bucket} at ${place.endpoint}`;
  const advice = error instanceof S3Error ? adviceFor(place, error) : undefined;
  if (advice !== undefined) return new StoreConfigError(`${where}: ${advice}`);
  const text = `${where}: ${messageOf(error)}`;
  if (isTlsError(error) || error instanceof StoreConfigError) return new StoreConfigError(text);
  // The system's code says what the process ends with.
  return new QueueError(text, { cause: error instanceof Error ? error.cause : undefined });
}

/** Nothing when only time helps. */
function adviceFor(place: S3Place, { code, status, region, isBusy }: S3Error): string | undefined {
  const isElsewhere = REDIRECTED.has(status) || code === "AuthorizationHeaderMalformed";
  if (isElsewhere && region !== undefined && region !== place.region) {
    return `it is in another region: add region=${region}`;
  }
  const advice = ADVICE[code] ?? (isElsewhere ? "it is somewhere else" : undefined);
  if (advice !== undefined) return `${advice} (${code})`;
  return status >= 400 && status < 500 && !isBusy ? `it answers ${code} (${status})` : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
