import { QueueError } from "../../mail/queue-error.ts";
import { reply } from "../../mail/reply.ts";
import { StoreConfigError } from "../store-config-error.ts";
import { StoreUnavailableError } from "../store-unavailable-error.ts";

const FULL = reply(452, "4.3.1", "Insufficient system storage");
const SICK = reply(451, "4.3.0", "Queue store unavailable");

/** A step that came too late, when its caller had given up: nothing was done. */
export class LateError extends QueueError {
  override readonly name = "LateError";
}

const NO_RIGHT =
  "the Redis user may not do what a queue needs (grant it +@all -@admin +config|get on the keys of the queue)";

/** Errors of the server that last until somebody does something about it, by how they begin; for operators. */
const TROUBLES: readonly (readonly [start: string, text: string])[] = [
  ["OOM", "the Redis server is out of memory (maxmemory)"],
  ["MISCONF", "the Redis server cannot write its files"],
  ["READONLY", "the Redis server is a read-only replica"],
  ["NOREPLICAS", "the Redis server has fewer replicas than min-replicas-to-write"],
  ["MASTERDOWN", "the Redis server has lost its primary"],
  ["CLUSTERDOWN", "the Redis cluster is down"],
  ["LOADING", "the Redis server is still loading"],
  ["NOPERM", NO_RIGHT],
  // In a script the server does not say which command it was.
  ["ERR The user executing the script", NO_RIGHT],
];

/** Why no mail can be stored for a while, after this error; `undefined` when it says nothing about the next message. */
export function troubleOf(error: unknown): string | undefined {
  const message = answerIn(error);
  return TROUBLES.find(([start]) => message.startsWith(start))?.[1];
}

/** What the client library says when a command was under way as the connection broke. */
const LOST =
  /^(?:Reached the max retries|Connection is closed|Stream isn't writeable|Command aborted)/u;

/** Servers of a cluster send each other's clients on, or have them ask again; see `waitingForSlot`. */
const MOVING = /^(?:TRYAGAIN|MOVED|ASK) /u;

/** What the client library puts before the server's answer when it has tried again a few times. */
const TRIED = /^Too many Cluster redirections\. Last error: (?:ReplyError: )?/u;

function answerIn(error: unknown): string {
  return messageOf(error).replace(TRIED, "");
}

/** What clients hear of it: always temporary (P7). The message is for the log, and holds nothing of what was sent. */
export function storeError(what: string, error: unknown): QueueError {
  if (error instanceof QueueError) return error;
  const message = wordsOf(answerIn(error));
  const isFull = /^(?:OOM|MISCONF)/u.test(message);
  // The client's errors carry the command with all of its arguments.
  const cause = new Error(troubleOf(error) ?? message);
  return new QueueError(`${what}: ${cause.message}`, { reply: isFull ? FULL : SICK, cause });
}

function wordsOf(message: string): string {
  if (LOST.test(message)) return "the connection was lost";
  return MOVING.test(message) ? "the Redis cluster is moving the queue to another node" : message;
}

const SETUP_CODE = /^(?:ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|DEPTH_|SELF_|UNABLE_|HOSTNAME_)/u;

/** Why the store cannot be opened, for whoever starts the process; `where` is the server without a password. */
export function openError(where: string, error: unknown): Error {
  if (error instanceof StoreConfigError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const text = `cannot use ${where}: ${messageOf(error)}`;
  // What the server itself says at this point is about a password, a right or a database.
  const isSetup = code === "" || SETUP_CODE.test(code);
  if (isSetup && !isPassing(error)) return new StoreConfigError(text);
  return new StoreUnavailableError(text);
}

/** What a server says to who may not come in; Sentinel's word is at the end of the client's. */
const REFUSED = /\b(?:NOAUTH|WRONGPASS|NOPERM)\b/u;

const PASSING =
  /^(?:LOADING|MASTERDOWN|CLUSTERDOWN|ERR max number of clients|All sentinels|None of)/u;

/** The server is there and will be of use after a while. */
export function isPassing(error: unknown): boolean {
  const message = messageOf(error);
  if (REFUSED.test(message)) return false;
  return LOST.test(message) || PASSING.test(message);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
