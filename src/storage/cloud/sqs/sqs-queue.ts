import { StoreConfigError } from "../../store-config-error.ts";
import { isTlsError } from "../aws/exchange.ts";
import {
  type CallLimits,
  type Fields,
  type SqsAction,
  type SqsCalls,
  SqsError,
} from "./sqs-calls.ts";

/** Calls that are about one queue. */
export interface SqsQueue {
  call(action: SqsAction, fields: Fields, limits?: CallLimits): Promise<Fields>;
  /**
   * Whether it can be used. Rejects with `StoreConfigError` when somebody has to change something, with another error when
   * it cannot be reached at the moment.
   */
  check(): Promise<void>;
}

/** `queue` is the queue's URL or its name, whose URL is asked for when it is needed first. */
export function sqsQueue(calls: SqsCalls, queue: string): SqsQueue {
  let url = queue.includes("/") ? queue : undefined;
  const call: SqsQueue["call"] = async (action, fields, limits) => {
    url ??= await urlOf(calls, queue);
    return await calls.call(action, { QueueUrl: url, ...fields }, limits);
  };
  return {
    call,
    async check() {
      try {
        // Looks and takes nothing.
        const look = { MaxNumberOfMessages: 1, WaitTimeSeconds: 0, VisibilityTimeout: 0 };
        await call("ReceiveMessage", look);
      } catch (error) {
        throw startError(queue, error);
      }
    },
  };
}

async function urlOf(calls: SqsCalls, name: string): Promise<string> {
  const { QueueUrl: url } = await calls.call("GetQueueUrl", { QueueName: name });
  if (typeof url !== "string") throw new Error(`SQS gave no URL for the queue ${name}`);
  return url;
}

/** What somebody can do about it, by the code of the answer. */
const ADVICE: readonly (readonly [pattern: RegExp, advice: string])[] = [
  [/QueueDoesNotExist|NonExistentQueue/u, "there is no such queue: make it, or name another"],
  [
    /^AccessDenied/u,
    "these credentials may not use it: grant sqs:GetQueueUrl, SendMessage, ReceiveMessage and DeleteMessage",
  ],
  [/^(?:SignatureDoesNotMatch|InvalidSignature)/u, "the secret key is wrong, or the region"],
  [
    /^(?:InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId)/u,
    "nobody knows this access key",
  ],
  [/^(?:ExpiredToken|RequestExpired)/u, "the session token is over: get another"],
];

function startError(queue: string, error: unknown): unknown {
  const where = `cannot use the queue ${queue}`;
  if (isTlsError(error)) {
    return new StoreConfigError(`${where}: ${error instanceof Error ? error.message : ""}`);
  }
  if (!(error instanceof SqsError)) return error;
  const { code, status } = error;
  const advice = ADVICE.find(([pattern]) => pattern.test(code))?.[1];
  if (advice !== undefined) return new StoreConfigError(`${where}: ${advice} (${code})`);
  const isLasting = status >= 400 && status < 500 && status !== 429 && !/Thrott/u.test(code);
  return isLasting ? new StoreConfigError(`${where}: ${error.message}`) : error;
}
