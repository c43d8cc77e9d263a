import { exit } from "../lib/sysexits.ts";
import { type AdminClient, adminClient, type Method, NotFound } from "./admin-client.ts";
import { countSchema } from "./api.ts";
import type { Arguments, Option } from "./arguments.ts";
import { usageError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";
import { idsFrom } from "./ids.ts";
import type { CliParts } from "./parts.ts";
import { chosen, SELECTOR_OPTIONS, withQuery } from "./selector.ts";

/** Calls under way at once: the daemon makes what comes together durable together. */
const AT_ONCE_MAX = 32;

/** How long the daemon may take with a whole queue. */
export const BULK_ANSWER_MS_MAX = 60 * 60_000;

/** What can be done to messages by name or by selection. */
export interface QueueVerb {
  readonly verb: "retry" | "hold" | "release" | "remove" | "bounce";
  /** What has happened to a message then: `held`. */
  readonly done: string;
  readonly summary: string;
  readonly details?: string;
}

export const ALL_OPTION: Option = { name: "all", doc: "every message of the queue" };

/** The command of a verb: on ids, on ids from stdin, or on everything that a selector names. */
export function queueVerb({ verb, done, summary, details }: QueueVerb): Command {
  return {
    name: `queue ${verb}`,
    summary,
    usage: "ID... | - | --state STATE | --domain DOMAIN | --sender ADDRESS | --all",
    ...(details === undefined ? {} : { details }),
    options: [...SELECTOR_OPTIONS, ALL_OPTION],
    configured: true,
    examples: [
      `slimta-queue queue ${verb} 1F6YH3Q2K0ABCDEF`,
      `slimta-queue queue ${verb} --domain example.org`,
      `slimta-queue queue list --sender "" --json | jq -r .queue_id | slimta-queue queue ${verb} -`,
    ],
    run: (args, parts) => {
      const what = chosen(args);
      if (what.kind === "nothing") {
        throw usageError(`${verb} what? Give ids, - for ids on stdin, a selector, or --all`);
      }
      return withConfig(args, parts, async ({ config }) => {
        const client = adminClient(config, parts, BULK_ANSWER_MS_MAX);
        if (what.kind === "ids") return await actOnEach(args, parts, client, actionOf(verb), done);
        const parameters = what.kind === "all" ? { all: "true" } : what.parameters;
        const path = withQuery(`/v1/messages/${verb}`, parameters);
        const { count } = await client.call("POST", path, countSchema);
        await parts.stdout.write(`${done} ${messages(count)}\n`);
        return exit.ok;
      });
    },
  };
}

/** One call of the admin endpoint for a message. */
export type Action = (id: string) => readonly [Method, string];

/** The call that does a verb to one message. */
export function actionOf(verb: QueueVerb["verb"]): Action {
  return (id) => {
    return verb === "remove"
      ? ["DELETE", `/v1/messages/${id}`]
      : ["POST", `/v1/messages/${id}/${verb}`];
  };
}

/**
 * Does one action to each id, several at once, and tells each in the order given. Goes on when one does not exist and
 * resolves with 65 then; any other failure ends it, after all that was done is told.
 */
export async function actOnEach(
  args: Arguments,
  parts: CliParts,
  client: AdminClient,
  action: Action,
  done: string,
): Promise<number> {
  const acted: (() => Promise<void>)[] = [];
  let missing = 0;
  const tell = async (id: string, found: boolean) => {
    missing += found ? 0 : 1;
    if (found) await parts.stdout.write(`${id}: ${done}\n`);
    else await parts.stderr.write(`${id}: no such message\n`);
  };
  try {
    for await (const id of idsFrom(args.positionals, parts.stdin)) {
      const found = act(client, action(id));
      // One that fails is told of in its turn, not before.
      found.catch(() => undefined);
      acted.push(async () => await tell(id, await found));
      if (acted.length >= AT_ONCE_MAX) await acted.shift()?.();
    }
    while (acted.length > 0) await acted.shift()?.();
  } finally {
    for (const rest of acted) await rest().catch(() => undefined);
  }
  return missing === 0 ? exit.ok : exit.data;
}

async function act(client: AdminClient, [method, path]: ReturnType<Action>): Promise<boolean> {
  try {
    await client.act(method, path);
    return true;
  } catch (error) {
    if (error instanceof NotFound) return false;
    throw error;
  }
}

/** `1 message`, `2 messages`. */
export function messages(count: number): string {
  return `${count} ${count === 1 ? "message" : "messages"}`;
}
