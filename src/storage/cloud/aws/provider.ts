import type { Clock } from "../../../lib/world.ts";
import type { Credentials } from "./credentials.ts";

/** A place where credentials may be. */
export interface Provider {
  /** For somebody who looks for his: `the environment (AWS_ACCESS_KEY_ID)`. */
  readonly name: string;
  /** `undefined` when there are none here. Rejects when there should be some. */
  load(): Promise<Credentials | undefined>;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Question {
  readonly url: string;
  readonly method?: "GET" | "PUT" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly limitMs: number;
}

/** The answer of a small server that knows credentials. Rejects when it is none or late; what it says is never in the error. */
export async function ask(clock: Clock, question: Question): Promise<string> {
  const { url, limitMs, method = "GET", headers = {}, body } = question;
  const ended = new AbortController();
  const cancel = clock.after(limitMs, () => ended.abort());
  const { origin } = new URL(url);
  try {
    const asked = { method, headers, signal: ended.signal, ...(body !== undefined && { body }) };
    const response = await fetch(url, { ...asked, redirect: "error" });
    const text = await response.text();
    if (!response.ok) throw new AskError(`${origin} answers ${response.status}`, response);
    return text;
  } catch (error) {
    if (error instanceof AskError) throw error;
    throw new AskError(`${origin} does not answer`, { status: 0, cause: error });
  } finally {
    cancel();
  }
}

/** It gave no answer, or another one than was asked for. */
export class AskError extends Error {
  override readonly name = "AskError";
  /** 0 when nobody answered. */
  readonly status: number;

  constructor(message: string, options: { readonly status: number; readonly cause?: unknown }) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.status = options.status;
  }

  /** Asking again later may help. */
  get isPassing(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

/** Credentials in the JSON that containers and instances are given. */
export function readCredentials(from: string, text: string): Credentials {
  const fields = parsed(text);
  const { AccessKeyId, SecretAccessKey, Token, Expiration } = fields;
  const made = credentialsOf([AccessKeyId, SecretAccessKey, Token, Expiration]);
  if (made === undefined) throw new Error(`${from} gave no credentials`);
  return made;
}

/** Temporary credentials out of what some answer holds; `undefined` when something is missing. */
export function credentialsOf(values: readonly unknown[]): Credentials | undefined {
  const [accessKeyId, secretAccessKey, sessionToken, expiration] = values;
  const expiresAt = typeof expiration === "string" ? Date.parse(expiration) : Number.NaN;
  if (typeof accessKeyId !== "string" || typeof secretAccessKey !== "string") return undefined;
  if (accessKeyId === "" || secretAccessKey === "") return undefined;
  return {
    accessKeyId,
    secretAccessKey,
    ...(typeof sessionToken === "string" && { sessionToken }),
    ...(!Number.isNaN(expiresAt) && { expiresAt }),
  };
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}
