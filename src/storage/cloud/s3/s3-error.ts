import { QueueError } from "../../../mail/queue-error.ts";
import { reply } from "../../../mail/reply.ts";
import { readXml, textOf } from "../aws/xml.ts";

const SICK = reply(451, "4.3.0", "Queue store unavailable");
const FULL = reply(452, "4.3.1", "Insufficient system storage");

/** Codes of stores that have no room. */
const FULL_CODES =
  /^(?:QuotaExceeded|InsufficientStorage|InsufficientCapacity|XMinioStorageFull)$/u;
/** Codes that say: not now, and nothing was done. */
const BUSY_CODES =
  /^(?:SlowDown|ServiceUnavailable|TooManyRequests|RequestLimitExceeded|Throttling\w*|RequestTimeout)$/u;

/** What a store answered instead of doing what it was asked; its message is for operators and holds no secret. */
export class S3Error extends QueueError {
  override readonly name = "S3Error";
  readonly status: number;
  /** `SlowDown`, `AccessDenied`...; the status in words when the answer names none. */
  readonly code: string;
  /** Nothing but time or an operator changes it: the same would be answered at once. */
  readonly isLasting: boolean;
  /** The region that the answer says is right. */
  readonly region: string | undefined;

  constructor(what: string, { status, code, region }: Refusal) {
    const isFull = status === 507 || FULL_CODES.test(code);
    super(`the object store answered ${code} (${status}) to ${what}`, {
      reply: isFull ? FULL : SICK,
    });
    this.isLasting = status < 500 || status === 501 || isFull;
    this.status = status;
    this.code = code;
    this.region = region;
  }

  /** Nothing was done, and the same may be done later. */
  get isBusy(): boolean {
    return this.status === 429 || BUSY_CODES.test(this.code);
  }
}

export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly region?: string | undefined;
}

/** What is longer is some page, and no error of S3. */
const ERROR_BYTES_MAX = 64 * 1024;

/** What an answer that is no success says. */
export function refusalOf(status: number, headers: Headers, body: Uint8Array): Refusal {
  const error = readXml(new TextDecoder().decode(body.subarray(0, ERROR_BYTES_MAX)));
  const said = error?.name === "Error" ? textOf(error, "Code") : undefined;
  const region = headers.get("x-amz-bucket-region") ?? textOf(error, "Region");
  return {
    status,
    code: /^[\w.-]{1,64}$/u.test(said ?? "") ? String(said) : `HTTP${status}`,
    region: /^[a-z0-9-]{1,32}$/u.test(region ?? "") ? region : undefined,
  };
}
