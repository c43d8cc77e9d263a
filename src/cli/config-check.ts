import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import type { Command } from "./command.ts";
import { load, tellIssues } from "./configured.ts";

export const configCheck: Command = {
  name: "config check",
  summary: "report every problem of the configuration",
  usage: "[--json] [flags]",
  details: "Exits with 0 when there is none, else with 78.",
  options: [{ name: "json", doc: "report as JSON" }],
  configured: true,
  examples: ["slimta-queue config check", "slimta-queue config check --config ./config.toml"],
  async run(args, parts) {
    const result = load(args, parts);
    const good = result.kind === "loaded";
    const issues = good ? [] : result.issues;
    if (args.has("json")) await parts.stdout.write(`${terminalJson({ issues }, 2)}\n`);
    else if (!good) await tellIssues(result, parts.stderr);
    else await parts.stdout.write(`configuration is good (${result.file ?? "no file"})\n`);
    return good ? exit.ok : exit.config;
  },
};
