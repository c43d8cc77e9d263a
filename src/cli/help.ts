import type { Option } from "./arguments.ts";
import type { Command } from "./command.ts";
import { CONFIG_OPTIONS } from "./configured.ts";
import { paint } from "./paint.ts";
import type { Writer } from "./parts.ts";

/** The list of all commands. */
export function overview(commands: readonly Command[], writer: Writer): string {
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(20)} ${summary}`);
  return `${paint(writer, "bold", "slimta-queue")}: a durable mail queue in one executable

Usage: slimta-queue COMMAND [flags]

${lines.join("\n")}
  help                 explain a command

"slimta-queue COMMAND --help" tells more. Settings: "slimta-queue config explain".
`;
}

/** The help of one command. */
export function helpFor(command: Command, writer: Writer): string {
  const { name, usage, summary, details, examples } = command;
  const heading = (text: string) => paint(writer, "bold", text);
  const shared = command.configured ? CONFIG_OPTIONS : [];
  return [
    `Usage: ${heading(`slimta-queue ${name}`)} ${usage}`.trimEnd(),
    `\n${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`,
    ...(details === undefined ? [] : [details]),
    ...section(heading("Flags:"), command.options),
    ...section(heading("Configuration:"), shared),
    `\n${heading("Examples:")}`,
    ...examples.map((example) => `  ${example}`),
    "",
  ].join("\n");
}

function section(title: string, options: readonly Option[]): string[] {
  if (options.length === 0) return [];
  const rows = options.map(({ name, value, short, doc }) => {
    const flag = `${short === undefined ? "" : `-${short}, `}--${name}${value ? ` ${value}` : ""}`;
    return `  ${flag.padEnd(24)} ${doc}`;
  });
  return [`\n${title}`, ...rows];
}
