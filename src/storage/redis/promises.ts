import { StoreConfigError } from "../store-config-error.ts";
import type { Connection } from "./connection.ts";
import { isPassing } from "./errors.ts";
import { baseOf, type RedisAddress } from "./redis-url.ts";

/** What a server says of itself; `undefined` where it may not be asked. */
export interface ServerFacts {
  readonly version: string | undefined;
  readonly role: string | undefined;
  /** Whether there is an append-only file. */
  readonly appends: boolean | undefined;
  /** When that is synced: always, everysec or no. */
  readonly syncs: string | undefined;
  /** Octets; 0 for no limit. */
  readonly memoryMax: number | undefined;
  readonly evicts: string | undefined;
}

const MAJOR_MIN = 7;
/** Since when there is WAITAOF. */
const SYNCED_MIN = 7.2;

/** Of a cluster the one that has the queue is asked. Where CONFIG is forbidden, INFO says most of it. */
async function serverFacts(connection: Connection, base: string): Promise<ServerFacts> {
  const config = await connection.atQueue(base, "config", ["GET", "*"]).catch(unlessForbidden);
  const info = await connection.atQueue(base, "info", []).catch(unlessForbidden);
  return factsOf(configOf(config), infoOf(info));
}

/** One who may not ask is told so by the server; else nobody knows anything. */
function unlessForbidden(error: Error): undefined {
  if (error.name !== "ReplyError" || isPassing(error)) throw error;
}

function factsOf(
  config: ReadonlyMap<string, string>,
  info: ReadonlyMap<string, string>,
): ServerFacts {
  const appendOnly = config.get("appendonly");
  const memory = config.get("maxmemory") ?? info.get("maxmemory");
  const enabled = info.get("aof_enabled");
  return {
    version: info.get("redis_version"),
    role: info.get("role"),
    appends: appendOnly === undefined ? enabled && enabled === "1" : appendOnly === "yes",
    syncs: config.get("appendfsync"),
    memoryMax: memory === undefined ? undefined : Number(memory),
    evicts: config.get("maxmemory-policy") ?? info.get("maxmemory_policy"),
  } as ServerFacts;
}

/** Why mail is not safe there although the server confirms it, in words for operators; nothing when it is. */
export function complaints(
  { version, role, appends, syncs, memoryMax, evicts }: ServerFacts,
  { replicas, synced }: Pick<RedisAddress, "replicas" | "synced">,
): readonly string[] {
  const found: string[] = [];
  if (version !== undefined && Number.parseInt(version, 10) < MAJOR_MIN) {
    found.push(`it is Redis ${version}, and ${MAJOR_MIN}.0 is needed`);
  }
  if (version !== undefined && synced > 0 && Number.parseFloat(version) < SYNCED_MIN) {
    found.push(`it is Redis ${version}, and synced= needs ${SYNCED_MIN}`);
  }
  if (role === "slave") found.push("it is a read-only replica");
  if (appends === undefined) found.push("it does not say whether it keeps an append-only file");
  // Replicas that have it stand in for a disk, when somebody asks for them.
  else if (!appends && replicas === 0) found.push("it keeps nothing on disk (appendonly no)");
  if (appends && replicas + synced === 0 && syncs !== "always") found.push(syncComplaint(syncs));
  if (memoryMax !== 0 && evicts !== undefined && evicts !== "noeviction") {
    found.push(`it throws mail away when memory is full (maxmemory-policy ${evicts})`);
  }
  return found;
}

function syncComplaint(syncs: string | undefined): string {
  return syncs === undefined
    ? "it does not say whether it syncs before it confirms (grant this user +config|get)"
    : `it confirms before it syncs (appendfsync ${syncs})`;
}

const FATAL = /^it is /u;

/**
 * Reads what the server promises. Resolves with what is to be told to operators; rejects with `StoreConfigError` where a
 * `250` would not be safe and nobody said that this is wanted, or where nothing would work.
 */
export async function checkPromises(
  connection: Connection,
  address: RedisAddress,
  where: string,
): Promise<readonly string[]> {
  const found = complaints(await serverFacts(connection, baseOf(address)), address);
  if (found.length === 0) return [];
  const isFatal = found.some((each) => FATAL.test(each));
  if (!isFatal && address.durability === "warn") return found;
  const hint = isFatal ? "" : "; durability=warn in the URL accepts that";
  throw new StoreConfigError(`${where} does not keep mail safe: ${found.join("; ")}${hint}`);
}

function configOf(answer: unknown): ReadonlyMap<string, string> {
  const pairs = Array.isArray(answer) ? (answer as string[]) : [];
  const config = new Map<string, string>();
  for (let index = 0; index + 1 < pairs.length; index += 2) {
    config.set(pairs[index] ?? "", pairs[index + 1] ?? "");
  }
  return config;
}

function infoOf(answer: unknown): ReadonlyMap<string, string> {
  const lines = typeof answer === "string" ? answer.split("\r\n") : [];
  return new Map(
    lines.map((line) => [line.split(":")[0] ?? "", line.slice(line.indexOf(":") + 1)] as const),
  );
}
