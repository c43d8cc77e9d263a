import { type Explained, explain } from "../config/explain.ts";
import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";
import { paint } from "./paint.ts";
import type { Writer } from "./parts.ts";

export const configExplain: Command = {
  name: "config explain",
  summary: "print every setting, its value, where that came from, and what it means",
  usage: "[PATH...] [--json] [flags]",
  details: "The output is TOML and can start a configuration file. Secrets are not shown.",
  options: [{ name: "json", doc: "print as JSON" }],
  configured: true,
  examples: ["slimta-queue config explain", "slimta-queue config explain relay queue.lifetime"],
  run: (args, parts) => {
    return withConfig(args, parts, async (loaded) => {
      const wanted = args.positionals;
      const all = explain(loaded).filter(({ path }) => isWanted(path, wanted));
      const text = args.has("json") ? terminalJson(all, 2) : asToml(all, parts.stdout);
      await parts.stdout.write(`${text}\n`);
      return all.length > 0 ? exit.ok : exit.data;
    });
  },
};

function isWanted(path: string, wanted: readonly string[]): boolean {
  return wanted.length === 0 || wanted.some((one) => `${path}.`.startsWith(`${one}.`));
}

function asToml(settings: readonly Explained[], writer: Writer): string {
  const blocks = settings.map(({ path, value, origin, doc }) => {
    const comment = paint(writer, "dim", `# ${doc}`);
    const from = paint(writer, "dim", `# ${origin}`);
    return `${comment}\n${paint(writer, "bold", path)} = ${tomlValue(value)}  ${from}`;
  });
  return blocks.join("\n\n");
}

/** JSON's text, numbers and lists are TOML's as well. */
function tomlValue(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(tomlValue).join(", ")}]` : terminalJson(value);
}
