import { exit } from "../lib/sysexits.ts";
import { printable } from "../mail/reply.ts";
import { adminClient } from "./admin-client.ts";
import { CliError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";

/** Below the patience of container runtimes. */
const ANSWER_MS_MAX = 10_000;
const SHOWN_LENGTH_MAX = 500;

export const healthcheck: Command = {
  name: "healthcheck",
  summary: "ask the running daemon whether it can accept mail",
  usage: "[flags]",
  details: "Exits with 0 when it can and with 1 when it cannot or does not answer.",
  options: [],
  configured: true,
  examples: ["slimta-queue healthcheck", 'HEALTHCHECK CMD ["slimta-queue", "healthcheck"]'],
  run: (args, parts) => {
    return withConfig(args, parts, async ({ config }) => {
      try {
        const response = await adminClient(config, parts, ANSWER_MS_MAX).raw("GET", "/readyz");
        const answer = printable(await response.text(), SHOWN_LENGTH_MAX);
        await parts.stdout.write(`${response.ok ? "ready" : "not ready"}: ${answer}\n`);
        return response.ok ? exit.ok : exit.no;
      } catch (error) {
        if (!(error instanceof CliError)) throw error;
        await parts.stderr.write(`${error.message}\n`);
        return exit.no;
      }
    });
  },
};
