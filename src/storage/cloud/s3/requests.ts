import { pause } from "../../../lib/pause.ts";
import { Permits } from "../../../lib/permits.ts";
import type { World } from "../../../lib/world.ts";
import { QueueError } from "../../../mail/queue-error.ts";
import type { CredentialSource, Credentials } from "../aws/credentials.ts";
import { type Answer, type Exchange, exchange, NoAnswerError } from "../aws/exchange.ts";
import { ServerClock } from "../aws/server-clock.ts";
import { signedHeaders } from "../aws/signing.ts";
import { objectUrl, type S3Place } from "./place.ts";
import { refusalOf, S3Error } from "./s3-error.ts";

/** What a request is on the bill: stores charge PUT, POST and LIST most, GET and HEAD less, DELETE nothing. */
export type RequestKind = "PUT" | "POST" | "LIST" | "GET" | "HEAD" | "DELETE";

export type RequestCounts = Readonly<Record<RequestKind, number>>;

export interface S3Request {
  readonly kind: RequestKind;
  /** Of an object; the bucket itself without it. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Doing it twice must not matter: it is sent again when nobody knows whether it was done. */
  readonly isRepeatable: boolean;
  /** Statuses that say something other than trouble. */
  readonly expected?: readonly number[];
}

export interface S3Limits {
  /** How long one request may take, and longer when much is to be carried. */
  readonly requestMs: number;
  /** After this long nothing is tried again: clients wait for an answer. */
  readonly totalMs: number;
  /** Requests under way at once. */
  readonly parallelMax: number;
}

export const S3_LIMITS: S3Limits = { requestMs: 10_000, totalMs: 20_000, parallelMax: 64 };

const ATTEMPTS_MAX = 8;
const PAUSE_FIRST_MS = 50;
const PAUSE_MAX_MS = 2000;

const METHODS: Readonly<Record<RequestKind, string>> = {
  ...{ PUT: "PUT", POST: "POST", LIST: "GET", GET: "GET", HEAD: "HEAD", DELETE: "DELETE" },
};

export interface S3RequestsParts {
  readonly place: S3Place;
  readonly credentials: CredentialSource;
  readonly world: World;
  /** Certificates that are trusted; the system's own without it. */
  readonly ca?: string | undefined;
  readonly limits?: Partial<S3Limits>;
}

/** Sends requests to one bucket: signed, limited in time and number, and again where that may help and cannot harm. */
export class S3Requests {
  readonly serverClock = new ServerClock();
  readonly #parts: S3RequestsParts;
  readonly #limits: S3Limits;
  readonly #permits: Permits;
  readonly #counts = { PUT: 0, POST: 0, LIST: 0, GET: 0, HEAD: 0, DELETE: 0 };

  constructor(parts: S3RequestsParts) {
    this.#parts = parts;
    this.#limits = { ...S3_LIMITS, ...parts.limits };
    this.#permits = new Permits(this.#limits.parallelMax);
  }

  /** What was sent so far, repetitions included: the bill. */
  counts(): RequestCounts {
    return { ...this.#counts };
  }

  /** Rejects with `S3Error` or `NoAnswerError` when the answer is neither a success nor expected. */
  async send(request: S3Request): Promise<Answer> {
    const { clock, random } = this.#parts.world;
    const endAt = clock.now() + this.#limits.totalMs;
    let answered: unknown;
    for (let attempt = 1; ; attempt += 1) {
      const credentials = await this.#parts.credentials.get();
      try {
        return await this.#permits.run(async () => {
          if (clock.now() > endAt) throw answered ?? tooMuch();
          return await this.#once(request, credentials);
        });
      } catch (error) {
        const pauseMs =
          Math.min(PAUSE_FIRST_MS * 2 ** attempt, PAUSE_MAX_MS) * (0.5 + random() / 2);
        const isLast = attempt >= ATTEMPTS_MAX || clock.now() + pauseMs > endAt;
        if (isLast || !this.#helpsAgain(error, request, credentials, attempt)) throw error;
        answered = error;
        await pause(clock, pauseMs);
      }
    }
  }

  #helpsAgain(
    error: unknown,
    { isRepeatable }: S3Request,
    credentials: Credentials,
    attempt: number,
  ): boolean {
    if (error instanceof NoAnswerError) return isRepeatable || error.isUnsent;
    if (!(error instanceof S3Error)) return false;
    if (EXPIRED.has(error.code)) {
      this.#parts.credentials.refuse(credentials);
      return attempt === 1;
    }
    // By now the answer has told what time it is there.
    if (error.code === "RequestTimeTooSkewed") return attempt === 1;
    return error.isBusy || (isRepeatable && !error.isLasting);
  }

  async #once(request: S3Request, credentials: Credentials): Promise<Answer> {
    const { place, world } = this.#parts;
    const { kind, key = "", query, headers = {}, body = NOTHING } = request;
    const what = `${kind} ${key === "" ? place.bucket : key}`;
    const [url, method] = [objectUrl(place, key, query), METHODS[kind]];
    const sentAt = world.clock.now();
    const at = sentAt + this.serverClock.differenceMs;
    const scope = { service: "s3", region: place.region, credentials, at } as const;
    const signed = await signedHeaders({ method, url, headers, body }, scope);
    this.#counts[kind] += 1;
    const answer = await this.#exchange(what, {
      ...{ url, method, headers: signed, isOnce: !request.isRepeatable },
      ...{ limitMs: this.#limits.requestMs, ca: this.#parts.ca },
      ...(request.body !== undefined && { body }),
    });
    this.serverClock.note(answer.headers.get("date"), sentAt, world.clock.now());
    if (answer.status >= 200 && answer.status < 300) return answer;
    const refusal = refusalOf(answer.status, answer.headers, answer.bytes);
    const isExpected = request.expected?.includes(answer.status) ?? false;
    if (isExpected && refusal.code !== "NoSuchBucket") return answer;
    throw new S3Error(what, refusal);
  }

  async #exchange(what: string, asked: Exchange): Promise<Answer> {
    try {
      return await exchange(this.#parts.world.clock, asked);
    } catch (error) {
      throw new NoAnswerError(`${what} of the object store`, { cause: error });
    }
  }
}

function tooMuch(): QueueError {
  return new QueueError("the object store is asked too much at once");
}

const NOTHING = new Uint8Array();

const EXPIRED = new Set(["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]);
