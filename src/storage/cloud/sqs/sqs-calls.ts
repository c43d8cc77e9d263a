import type { Clock } from "../../../lib/world.ts";
import type { CredentialSource } from "../aws/credentials.ts";
import { exchange, NoAnswerError } from "../aws/exchange.ts";
import { signedHeaders } from "../aws/signing.ts";

/** Calls of SQS that are made here. */
export type SqsAction =
  | "GetQueueUrl"
  | "SendMessageBatch"
  | "ReceiveMessage"
  | "DeleteMessageBatch";

export type Fields = Readonly<Record<string, unknown>>;

export interface SqsCallsParts {
  /** `https://host[:port]`: what a queue's URL says of its host is not asked. */
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: CredentialSource;
  readonly clock: Clock;
  /** The hour that signatures say. */
  readonly now: () => number;
  readonly ca?: string | undefined;
}

export interface SqsCalls {
  /** One call, not repeated. Rejects with `SqsError` or `NoAnswerError`. */
  call(action: SqsAction, fields: Fields, limits?: CallLimits): Promise<Fields>;
}

export interface CallLimits {
  /** How long the server may wait for messages before it answers. */
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

const LIMIT_MS = 10_000;
const EXPIRED = /^(?:ExpiredToken|RequestExpired)/u;

/** Speaks the JSON protocol of SQS. */
export function sqsCalls(parts: SqsCallsParts): SqsCalls {
  const { endpoint, region, credentials, clock, now, ca } = parts;
  const url = `${endpoint}/`;
  return {
    async call(action, fields, { waitMs = 0, signal } = {}) {
      const body = new TextEncoder().encode(JSON.stringify(fields));
      const headers = {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": `AmazonSQS.${action}`,
      };
      const who = await credentials.get();
      const scope = { service: "sqs", region, credentials: who, at: now() } as const;
      const signed = await signedHeaders({ method: "POST", url, headers, body }, scope);
      const asked = { url, method: "POST", headers: signed, body, limitMs: LIMIT_MS + waitMs, ca };
      const answer = await exchange(clock, { ...asked, ...(signal && { signal }) }).catch(
        (error) => {
          throw new NoAnswerError(`${action} of SQS`, { cause: error });
        },
      );
      const said = parsed(answer.bytes);
      if (answer.status === 200 && said !== undefined) return said;
      const error = new SqsError(action, answer.status, codeIn(said));
      if (EXPIRED.test(error.code)) credentials.refuse(who);
      throw error;
    },
  };
}

/** What SQS answered instead of doing what it was asked; its message is for operators and holds no secret. */
export class SqsError extends Error {
  override readonly name = "SqsError";
  readonly status: number;
  readonly code: string;

  constructor(action: SqsAction, status: number, code: string) {
    const said = code === "" ? `HTTP ${status}` : `${code} (${status})`;
    super(`SQS answered ${said} to ${action}`);
    this.status = status;
    this.code = code;
  }
}

/** `com.amazonaws.sqs#QueueDoesNotExist` */
function codeIn(said: Fields | undefined): string {
  const type = String(said?.__type ?? "");
  return /(?:^|#)([\w.]{1,64})$/u.exec(type)?.[1] ?? "";
}

function parsed(bytes: Uint8Array): Fields | undefined {
  if (bytes.length === 0) return {};
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
