import { hostname as hostnameOfSystem } from "node:os";
import * as v from "valibot";
import { type Config, toConfig } from "../../config/config.ts";
import { hostNameFrom } from "../../config/facts.ts";
import { configSchema } from "../../config/schema.ts";
import { realWorld, type World } from "../../lib/world.ts";
import { type Emit, fanOut } from "../../observe/events.ts";

/** What everything that a program opens may be given besides its own options. */
export interface Embedding {
  /** Called with every event, at once; what it throws is lost. Nobody listens without it. */
  readonly onEvent?: Emit;
  /** Time and dice; those of this machine without it. */
  readonly world?: World;
}

/** The world and the listener that were given, or the stock ones. */
export function surroundings({ onEvent, world = realWorld }: Embedding) {
  return { world, emit: fanOut(onEvent === undefined ? [] : [onEvent]) };
}

/** What this host is called, as far as mail may say it. */
export function ownHostname(): string {
  return hostNameFrom(hostnameOfSystem());
}

/**
 * The configuration of the executable that is told no more than this, in the names of its file: where all defaults of the
 * library come from. Throws `TypeError` for what it would refuse.
 */
export function stockConfig(told: object = {}, hostname: string = ownHostname()): Config {
  const places = { hostname, spool: "/", socket: "/", configFiles: [] };
  const parsed = v.safeParse(configSchema(places), told);
  if (parsed.success) return toConfig(parsed.output);
  const [issue] = parsed.issues;
  throw new TypeError(`${v.getDotPath(issue)}: ${issue.message}`);
}
