import { readFileSync } from "node:fs";
import { codeOf } from "../../../lib/error-code.ts";
import type { Clock } from "../../../lib/world.ts";
import { QueueError } from "../../../mail/queue-error.ts";
import { reply } from "../../../mail/reply.ts";
import { StoreConfigError } from "../../store-config-error.ts";

/** An answer with all of its body. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
}

export interface Exchange {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body?: Uint8Array;
  /**
   * `fetch` sends a request again by itself when a kept connection breaks before the answer. What must not be done twice goes
   * as a stream, which cannot be sent again.
   */
  readonly isOnce?: boolean;
  /** How long it may take, and longer when much is to be carried. */
  readonly limitMs: number;
  readonly ca?: string | undefined;
  readonly signal?: AbortSignal;
}

/** A line that is slower than this many octets in a millisecond counts as broken. */
const SLOWEST = 128;

/** Sends one request. Rejects with what the platform says when no whole answer came in time. */
export async function exchange(clock: Clock, asked: Exchange): Promise<Answer> {
  const { url, method, headers, body, limitMs, ca, signal } = asked;
  const late = new AbortController();
  const limitFor = (octets: number) =>
    clock.after(limitMs + octets / SLOWEST, () => late.abort(new LateError("it took too long")));
  let cancel = limitFor(body?.length ?? 0);
  headers.set("accept-encoding", "identity");
  if (body !== undefined) headers.set("content-length", String(body.length));
  try {
    const response = await fetch(url, {
      ...{ method, headers, ...bodyOf(asked), ...(ca !== undefined && { tls: { ca } }) },
      // A redirection would need another signature, and content is to come as it was stored.
      ...{ redirect: "manual", decompress: false },
      signal: signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]),
    });
    const length = Number(response.headers.get("content-length") ?? 0);
    cancel();
    cancel = limitFor(length);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (method !== "HEAD" && bytes.length < length) throw new Error("the answer ended early");
    return { status: response.status, headers: response.headers, bytes };
  } finally {
    cancel();
  }
}

function bodyOf({ body, isOnce }: Exchange): Pick<RequestInit, "body"> {
  if (body === undefined) return {};
  return { body: isOnce ? streamOf(body) : body };
}

/** One of our own: the stream of a `Blob` is known to the platform, which would send it again. */
function streamOf(body: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      if (body.length > 0) controller.enqueue(body);
      controller.close();
    },
  });
}

class LateError extends Error {
  override readonly name = "LateError";
  readonly code = "ETIMEDOUT";
}

/** No answer came: whether it was done nobody knows, unless the server was never reached. */
export class NoAnswerError extends QueueError {
  override readonly name = "NoAnswerError";
  /** The server heard nothing of it. */
  readonly isUnsent: boolean;

  /** `question`: who was asked for what. */
  constructor(question: string, { cause }: { readonly cause: unknown }) {
    const code = codeOf(cause);
    super(`${question} got no answer: ${WORDS[code] ?? reasonOf(cause)}`, {
      reply: reply(451, "4.3.0", "Queue store unavailable"),
      cause: Object.assign(new Error(code), { code }),
    });
    this.isUnsent = UNSENT.has(code);
  }
}

const UNSENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH"]);

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nobody listens there",
  ECONNRESET: "the connection was lost",
  ENOTFOUND: "its name has no address",
};

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** Whether the TLS of the other side is not what was asked for: somebody has to change something. */
export function isTlsError(error: unknown): boolean {
  const code = error instanceof Error ? codeOf(error.cause) : "";
  return /^(?:EPROTO|ERR_TLS|ERR_SSL|CERT_|DEPTH_|SELF_|UNABLE_|HOSTNAME_)/u.test(code);
}

/** The certificates in a file; `undefined` for those of the system. */
export function readCertificates(file: string | null): string | undefined {
  if (file === null) return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new StoreConfigError("cannot read ca_file", { cause: error });
  }
}
