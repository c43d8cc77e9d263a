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
        const client = adminClient(config, parts);
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

/** Does one action to each id, tells each, and goes on when one does not exist; resolves with 65 then. */
export async function actOnEach(
  args: Arguments,
  parts: CliParts,
  client: AdminClient,
  action: Action,
  done: string,
): Promise<number> {
  let missing = 0;
  for await (const id of idsFrom(args.positionals, parts.stdin)) {
    try {
      await client.act(...action(id));
      await parts.stdout.write(`${id}: ${done}\n`);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      missing += 1;
      await parts.stderr.write(`${id}: no such message\n`);
    }
  }
  return missing === 0 ? exit.ok : exit.data;
}

/** `1 message`, `2 messages`. */
export function messages(count: number): string {
  return `${count} ${count === 1 ? "message" : "messages"}`;
}
