import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import { adminClient } from "./admin-client.ts";
import { queueSchema } from "./api.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";

export const queueCount: Command = {
  name: "queue count",
  summary: "count messages by state",
  usage: "[--json] [flags]",
  options: [{ name: "json", doc: "print all that is known of the queue, as JSON" }],
  configured: true,
  examples: ["slimta-queue queue count", "slimta-queue queue count --json | jq .size"],
  run: (args, parts) => {
    return withConfig(args, parts, async ({ config }) => {
      const queue = await adminClient(config, parts).call("GET", "/v1/queue", queueSchema);
      const rows = [...Object.entries(queue.states), ["total", queue.size] as const];
      const text = rows.map(([state, count]) => `${state.padEnd(10)} ${String(count).padStart(9)}`);
      const json = terminalJson(queue, 2);
      await parts.stdout.write(`${args.has("json") ? json : text.join("\n")}\n`);
      return exit.ok;
    });
  },
};
