import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { World } from "../../lib/world.ts";
import { isAskable, plainName, type QueryAnswer, type QueryType, readResponse } from "./answer.ts";
import { type Cache, cache } from "./cache.ts";
import { exchange } from "./exchange.ts";
import type { MxRecord, NoRecords, Resolver } from "./resolver.ts";
import { type DnsServer, parseHosts, parseResolvConf, parseServer } from "./system-files.ts";

/** Whom to ask, and how long to wait. */
export interface ResolverOptions {
  /** `address`, `address:port` or `[address]:port`, asked in this order; none means those of `resolvConf`. */
  readonly servers: readonly string[];
  /** Path of resolv.conf(5). */
  readonly resolvConf: string;
  /** Path of hosts(5). */
  readonly hostsFile: string;
  /** How long one server has for one response. */
  readonly timeoutMs: number;
  /** How often all servers are asked in turn. */
  readonly tries: number;
  /** Answers remembered at once. */
  readonly cacheEntriesMax: number;
}

/** How long the files of the system are believed before they are read again. */
export const FILES_MS = 30_000;
/** Answers are kept for at least this long, however short-lived they say they are. */
export const TTL_S_MIN = 1;
/** And for no longer than this (RFC 8767 §4 asks for a cap of days; mail wants changes sooner). */
export const TTL_S_MAX = 86_400;
/** Missing names are believed no longer than this (RFC 2308 §5 suggests one to three hours). */
export const NEGATIVE_TTL_S_MAX = 3600;
/** Failures are remembered shortly, so that a broken domain is not asked for by every message (RFC 9520 §3.2). */
export const FAILURE_TTL_S = 5;
/** Questions under way at once; more are answered as failures rather than made to wait. */
export const QUESTIONS_MAX = 4096;

interface Files {
  readonly servers: readonly DnsServer[];
  readonly hosts: ReadonlyMap<string, readonly string[]>;
  readonly readAt: number;
}

/** Opens a stub resolver. Each question stands for itself: a stalled one delays no other name. */
export function openResolver(options: ResolverOptions, world: World): Resolver {
  const stub = new Stub(options, world);
  return {
    async mx(name) {
      const answer = await stub.ask(plainName(name), "MX");
      return answer.kind === "found" ? { kind: "found", records: recordsOf(answer) } : none(answer);
    },
    async addresses(name) {
      const key = plainName(name);
      if (isIP(key) !== 0) return { kind: "found", addresses: [key] };
      const { hosts } = await stub.files();
      const local = hosts.get(key);
      if (local) return { kind: "found", addresses: local };
      const [four, six] = await Promise.all([stub.ask(key, "A"), stub.ask(key, "AAAA")]);
      const addresses = takingTurns(addressesOf(four), addressesOf(six));
      return addresses.length > 0 ? { kind: "found", addresses } : noneOf(four, six);
    },
    close: () => stub.close(),
  };
}

/** Questions and answers, with memory. */
class Stub {
  readonly #options: ResolverOptions;
  readonly #world: World;
  readonly #cache: Cache<QueryAnswer>;
  readonly #asking = new Map<string, Promise<QueryAnswer>>();
  readonly #abort = new AbortController();
  #files: Promise<Files> | undefined;
  /** The server that answered last is asked first. */
  #preferred = 0;

  constructor(options: ResolverOptions, world: World) {
    this.#options = options;
    this.#world = world;
    this.#cache = cache(options.cacheEntriesMax, world.clock);
  }

  /** From memory, together with whoever asks the same just then, or from a server. */
  ask(name: string, type: QueryType): Promise<QueryAnswer> {
    const key = `${type} ${name}`;
    const known = this.#cache.get(key);
    if (known) return Promise.resolve(known);
    const asking = this.#asking.get(key);
    if (asking) return asking;
    if (!isAskable(name)) return Promise.resolve({ kind: "no-name", ttlS: 0 });
    if (this.#asking.size >= QUESTIONS_MAX)
      return Promise.resolve({ kind: "failed", detail: "too many lookups at once" });
    const answering = this.#askServers(name, type).then((answer) => {
      this.#asking.delete(key);
      this.#cache.set(key, answer, ttlSOf(answer) * 1000);
      return answer;
    });
    this.#asking.set(key, answering);
    return answering;
  }

  async files(): Promise<Files> {
    this.#files ??= this.#readFiles();
    const files = await this.#files;
    if (this.#world.clock.now() - files.readAt < FILES_MS) return files;
    this.#files = this.#readFiles();
    return this.#files;
  }

  close(): void {
    this.#abort.abort();
  }

  async #askServers(name: string, type: QueryType): Promise<QueryAnswer> {
    const { servers } = await this.files();
    let answer: QueryAnswer = { kind: "failed", detail: "no server" };
    for (let round = 0; round < this.#options.tries * servers.length; round += 1) {
      const index = (this.#preferred + round) % servers.length;
      const server = servers[index];
      if (!server || this.#abort.signal.aborted) break;
      answer = await this.#askServer(name, type, server);
      if (answer.kind === "failed") continue;
      this.#preferred = index;
      break;
    }
    return answer;
  }

  async #askServer(name: string, type: QueryType, server: DnsServer): Promise<QueryAnswer> {
    const { timeoutMs } = this.#options;
    const { clock } = this.#world;
    try {
      const response = await exchange({ name, type }, server, timeoutMs, clock, this.#abort.signal);
      if (typeof response !== "string") return readResponse(response, name, type);
      return { kind: "failed", detail: response };
    } catch (error) {
      // A socket that cannot be made, or a response that decodes into nonsense.
      return { kind: "failed", detail: error instanceof Error ? error.message : "no socket" };
    }
  }

  async #readFiles(): Promise<Files> {
    const { servers, resolvConf, hostsFile } = this.#options;
    const given = servers.map(parseServer).filter((server) => server !== undefined);
    return {
      servers: given.length > 0 ? given : parseResolvConf(await textOf(resolvConf)),
      hosts: parseHosts(await textOf(hostsFile)),
      readAt: this.#world.clock.now(),
    };
  }
}

/** A file that is not there says nothing. */
async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return "";
  }
}

function ttlSOf(answer: QueryAnswer): number {
  if (answer.kind === "failed") return FAILURE_TTL_S;
  const max = answer.kind === "found" ? TTL_S_MAX : NEGATIVE_TTL_S_MAX;
  return Math.min(max, Math.max(TTL_S_MIN, answer.ttlS));
}

function recordsOf(answer: QueryAnswer & { kind: "found" }): readonly MxRecord[] {
  return answer.answers.flatMap((record) =>
    record.type === "MX"
      ? [{ preference: record.data.preference ?? 0, exchange: plainName(record.data.exchange) }]
      : [],
  );
}

function addressesOf(answer: QueryAnswer): readonly string[] {
  if (answer.kind !== "found") return [];
  return answer.answers.flatMap((record) =>
    record.type === "A" || record.type === "AAAA" ? [record.data] : [],
  );
}

/** Neither family can keep the other from being tried (RFC 8305 §4). */
function takingTurns(ones: readonly string[], others: readonly string[]): readonly string[] {
  const length = Math.max(ones.length, others.length);
  return Array.from({ length }, (_, index) => [ones[index], others[index]])
    .flat()
    .filter((address) => address !== undefined);
}

function none(answer: Exclude<QueryAnswer, { kind: "found" }>): NoRecords {
  return answer.kind === "failed"
    ? { kind: "failed", detail: answer.detail }
    : { kind: answer.kind };
}

/** NXDOMAIN is about the name, whatever became of the other question. */
function noneOf(four: QueryAnswer, six: QueryAnswer): NoRecords {
  const both = [four, six].filter((answer) => answer.kind !== "found");
  const worst =
    both.find(({ kind }) => kind === "no-name") ?? both.find(({ kind }) => kind === "failed");
  return worst ? none(worst) : { kind: "no-data" };
}
