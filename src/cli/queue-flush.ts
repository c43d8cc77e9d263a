import { exit } from "../lib/sysexits.ts";
import { adminClient } from "./admin-client.ts";
import { flushedSchema } from "./api.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";
import { ALL_OPTION, actionOf, actOnEach, BULK_ANSWER_MS_MAX, messages } from "./queue-verb.ts";
import { chosen, SELECTOR_OPTIONS, withQuery } from "./selector.ts";

export const queueFlush: Command = {
  name: "queue flush",
  summary: "try everything that waits again now",
  usage: "[ID... | - | --domain DOMAIN | --sender ADDRESS]",
  details: "Without arguments: the whole queue, however deep. Messages on hold stay on hold.",
  options: [...SELECTOR_OPTIONS.filter(({ name }) => name !== "state"), ALL_OPTION],
  configured: true,
  examples: ["slimta-queue queue flush", "slimta-queue queue flush --domain example.org"],
  run: (args, parts) => {
    const what = chosen(args);
    return withConfig(args, parts, async ({ config }) => {
      const client = adminClient(config, parts, BULK_ANSWER_MS_MAX);
      if (what.kind === "ids") {
        return await actOnEach(args, parts, client, actionOf("retry"), "due now");
      }
      const parameters = what.kind === "selector" ? what.parameters : {};
      const { flushed } = await client.call(
        "POST",
        withQuery("/v1/flush", parameters),
        flushedSchema,
      );
      await parts.stdout.write(`flushed ${messages(flushed)}\n`);
      return exit.ok;
    });
  },
};
