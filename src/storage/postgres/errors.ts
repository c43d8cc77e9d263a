import { QueueError } from "../../mail/queue-error.ts";
import { reply } from "../../mail/reply.ts";
import { StoreConfigError } from "../store-config-error.ts";
import { StoreUnavailableError } from "../store-unavailable-error.ts";

/** What went wrong between this process and the database, or in it. */
export interface DatabaseError {
  /** The server's SQLSTATE, or the code of the client when there was no server to say one. */
  readonly code: string;
  readonly message: string;
}

/** Reads an error of `Bun.SQL`; `undefined` for anything else. */
function databaseError(error: unknown): DatabaseError | undefined {
  if (!(error instanceof Bun.SQL.PostgresError)) return undefined;
  return { code: error.errno ?? error.code, message: error.message };
}

/**
 * Data that the database does not take, such as a NUL in a text or a name too long for an index: what else is in the same
 * batch is not to blame, and the database is well.
 */
export function isAboutData(error: unknown): boolean {
  return /^(?:21|22|23|54)/u.test(databaseError(error)?.code ?? "");
}

/** Two transactions were in each other's way and this one gave in. */
export function isConflict(error: unknown): boolean {
  return databaseError(error)?.code.startsWith("40") ?? false;
}

/** The server itself said that it failed, and goes on: nothing of the transaction is left. */
export function isRolledBack(error: unknown): boolean {
  const cause = error instanceof QueueError ? error.cause : error;
  return cause instanceof Bun.SQL.PostgresError && cause.severity === "ERROR";
}

/** What clients hear: always temporary (P7), and nothing of the database's insides. */
export function storeError(cause: unknown): QueueError {
  if (cause instanceof QueueError) return cause;
  const isFull = databaseError(cause)?.code === "53100";
  const answer = isFull
    ? reply(452, "4.3.1", "Insufficient system storage")
    : reply(451, "4.3.0", "Queue store unavailable");
  return new QueueError(`the database cannot be used: ${reasonOf(cause)}`, {
    reply: answer,
    cause,
  });
}

/** The reason in one line, without addresses, statements or secrets. */
export function reasonOf(error: unknown): string {
  const known = databaseError(error);
  if (known === undefined) return error instanceof Error ? error.message : String(error);
  const [line = ""] = known.message.split("\n");
  return `${line} (${known.code})`;
}

/** What only somebody who changes the configuration or the database can mend: wrong names, rights, certificates. */
const SETUP =
  /^(?:28|3D|3F|42|0A|ERR_POSTGRES_(?:TLS|AUTH|UNKNOWN_AUTH|UNSUPPORTED|CHANNEL|INVALID|SASL)|ERR_TLS|ERR_OSSL|CERT_|DEPTH_|SELF_|UNABLE_)/u;

/** The same error in words for whoever starts the process; `where` names the server without a password. */
export function startError(where: string, error: unknown): Error {
  const cause = error instanceof QueueError ? (error.cause ?? error) : error;
  if (cause instanceof StoreConfigError) return new StoreConfigError(`${where}: ${cause.message}`);
  const own = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const text = `${where}: ${reasonOf(cause)}`;
  const isSetUpWrong = SETUP.test(databaseError(cause)?.code ?? own);
  return isSetUpWrong ? new StoreConfigError(text) : new StoreUnavailableError(text);
}
