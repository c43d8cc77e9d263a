import { openStorage } from "../../src/app/open-storage.ts";
import { settingFlag } from "../../src/config/flags.ts";
import { loadConfig } from "../../src/config/load.ts";
import { formatIssue } from "../../src/config/origin.ts";
import { realWorld, type World } from "../../src/lib/world.ts";
import type { Event } from "../../src/observe/events.ts";
import type { QueueStorage } from "../../src/storage/storage.ts";

/** A server on which queues are kept that several processes share. */
export interface StoreServer {
  /** Where it listens. */
  readonly port: number;
  /** What `--spool` is given for the queue of this name, through this port or directly. */
  url(queue: string, port?: number): string;
  /** Ends it as a power cut does, and starts it again. */
  crash(): Promise<void>;
  restart(): Promise<void>;
}

let made = 0;

/** The name of a queue that nobody has used yet. */
export function newQueue(): string {
  made += 1;
  return `c${process.pid}n${made}`;
}

/** Opens whatever store this URL, or this directory, names: as the product does. */
export async function openUrl(
  url: string,
  world: World = realWorld,
  emit: (event: Event) => void = () => undefined,
): Promise<QueueStorage> {
  const flags = settingFlag("spool", url) ?? [];
  const facts = { uid: 0, home: "/", hostname: "node.example.test" };
  const loaded = loadConfig({ flags, env: {}, facts, readFile: () => undefined });
  if (loaded.kind === "refused") throw new Error(loaded.issues.map(formatIssue).join("\n"));
  return await openStorage(loaded.config, { world, emit });
}
