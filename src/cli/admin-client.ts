import * as v from "valibot";
import type { Config } from "../config/config.ts";
import { formatHostPort } from "../config/network.ts";
import { exit } from "../lib/sysexits.ts";
import { printable } from "../mail/reply.ts";
import { problemSchema } from "./api.ts";
import { CliError } from "./cli-error.ts";
import type { CliParts } from "./parts.ts";

/** Talks to the running daemon. */
export interface AdminClient {
  /** One call, answered with JSON of a known shape. Throws `CliError` for anything else. */
  call<T>(method: Method, path: string, shape: v.GenericSchema<unknown, T>): Promise<T>;
  /** One call whose answer counts only as done or not. Throws `CliError`. */
  act(method: Method, path: string): Promise<void>;
  /** One call, whatever its status. Throws `CliError` when nobody answers. */
  raw(method: Method, path: string): Promise<Response>;
}

export type Method = "GET" | "POST" | "DELETE";

/** There is no such message. */
export class NotFound extends CliError {}

/** How long an answer may take unless said otherwise. */
const ANSWER_MS_MAX = 60_000;
const DETAIL_LENGTH_MAX = 500;
/** What no address can be dialled at, and where such a listener is reached. */
const WILDCARDS: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

interface Target {
  readonly name: string;
  readonly url: string;
  readonly unix?: string;
}

/** A client of the endpoint that the configuration names: a unix socket that exists first, then host and port. */
export function adminClient(
  { admin }: Config,
  parts: Pick<CliParts, "fetch" | "exists">,
  answerMsMax = ANSWER_MS_MAX,
): AdminClient {
  const targets = targetsOf(admin, parts.exists);
  const headers: Record<string, string> = { accept: "application/json" };
  if (admin.token !== null) headers.authorization = `Bearer ${admin.token}`;

  async function raw(method: Method, path: string): Promise<Response> {
    let cause: unknown;
    for (const { url, unix } of targets) {
      const signal = AbortSignal.timeout(answerMsMax);
      const socket = unix === undefined ? {} : { unix };
      try {
        return await parts.fetch(`${url}${path}`, { method, headers, signal, ...socket });
      } catch (error) {
        if (signal.aborted) throw tooSlow(answerMsMax, error);
        cause = error;
      }
    }
    throw unreachableDaemon(targets, cause);
  }

  async function answered(method: Method, path: string): Promise<Response> {
    const response = await raw(method, path);
    if (!response.ok) throw await refusal(response);
    return response;
  }

  return {
    raw,
    async act(method, path) {
      await (await answered(method, path)).arrayBuffer();
    },
    async call(method, path, shape) {
      const response = await answered(method, path);
      const result = v.safeParse(shape, await response.json().catch(() => undefined));
      if (result.success) return result.output;
      const asked = `${method} ${path.replace(/\?.*$/su, "")}`;
      throw new CliError(`the answer to ${asked} is not understood`, { code: exit.software });
    },
  };
}

function targetsOf(admin: Config["admin"], exists: (path: string) => boolean): Target[] {
  const listed = admin.listen.flatMap((at) => (at.kind === "unix" ? [at.path] : []));
  const sockets = [...(admin.socket === null ? [] : [admin.socket.path]), ...listed];
  const dialled = admin.listen.flatMap((at) => {
    return at.kind === "tcp" ? [{ ...at, host: WILDCARDS[at.host] ?? at.host }] : [];
  });
  return [
    ...sockets.filter(exists).map((path) => ({ name: path, url: "http://localhost", unix: path })),
    ...dialled.map((at) => ({ name: formatHostPort(at), url: `http://${formatHostPort(at)}` })),
  ];
}

function unreachableDaemon(targets: readonly Target[], cause: unknown): CliError {
  const names = targets.map(({ name }) => name).join(" and ");
  const where = names === "" ? "the configuration names no admin endpoint" : `asked ${names}`;
  const message = `no daemon answers (${where}): start it with "slimta-queue serve", or say where it is with --admin HOST:PORT`;
  return new CliError(message, { code: exit.unavailable, cause });
}

function tooSlow(answerMsMax: number, cause: unknown): CliError {
  const message = `the daemon did not answer within ${answerMsMax / 1000} s; try again later`;
  return new CliError(message, { code: exit.temporary, cause });
}

/** Turns an answer that is no success into what the operator reads. */
export async function refusal(response: Response): Promise<CliError> {
  const { title, detail } = await problemOf(response);
  const said = printable(
    [title, detail].filter((part) => part !== "").join(": "),
    DETAIL_LENGTH_MAX,
  );
  const { status } = response;
  if (status === 404) return new NotFound(said, { code: exit.data });
  if (status === 401 || status === 403) {
    return new CliError(`${said}; the daemon wants its admin.token`, { code: exit.noPermission });
  }
  return new CliError(`the daemon answers ${status}: ${said}`, { code: codeFor(status) });
}

function codeFor(status: number): number {
  const isTemporary = status >= 500 || status === 429 || status === 409;
  return isTemporary ? exit.temporary : exit.data;
}

async function problemOf(response: Response) {
  const body: unknown = await response.json().catch(() => ({}));
  const result = v.safeParse(problemSchema, body);
  return result.success ? result.output : { title: response.statusText, detail: "" };
}
