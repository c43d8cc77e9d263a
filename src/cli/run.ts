import { didYouMean } from "../config/suggest.ts";
import { exit } from "../lib/sysexits.ts";
import { printable } from "../mail/reply.ts";
import { type Option, parseArguments } from "./arguments.ts";
import { BrokenPipe, CliError, usageError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { configCheck } from "./config-check.ts";
import { configExplain } from "./config-explain.ts";
import { CONFIG_OPTIONS } from "./configured.ts";
import { fsck } from "./fsck.ts";
import { healthcheck } from "./healthcheck.ts";
import { helpFor, overview } from "./help.ts";
import { importPostfix } from "./import-postfix.ts";
import { importSlimtaDisk, importSlimtaRedis } from "./import-slimta.ts";
import { paint } from "./paint.ts";
import type { CliParts } from "./parts.ts";
import { queueBounce } from "./queue-bounce.ts";
import { queueCount } from "./queue-count.ts";
import { queueFlush } from "./queue-flush.ts";
import { queueHold } from "./queue-hold.ts";
import { queueList } from "./queue-list.ts";
import { queueRelease } from "./queue-release.ts";
import { queueRemove } from "./queue-remove.ts";
import { queueRetry } from "./queue-retry.ts";
import { queueShow } from "./queue-show.ts";
import { selftestDurability } from "./selftest-durability.ts";
import { serve } from "./serve.ts";
import { sink } from "./sink/sink.ts";
import { transfer } from "./transfer.ts";
import { version } from "./version.ts";

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  serve,
  queueList,
  queueShow,
  queueCount,
  queueFlush,
  queueRetry,
  queueHold,
  queueRelease,
  queueRemove,
  queueBounce,
  configCheck,
  configExplain,
  fsck,
  transfer,
  importSlimtaDisk,
  importSlimtaRedis,
  importPostfix,
  healthcheck,
  selftestDurability,
  sink,
  version,
];

/** Of what is told on `stderr`: a word of the command line may be as long as the system lets it. */
const LINE_MAX = 1000;

const HELP: Option = { name: "help", short: "h", doc: "explain this command" };
const HELP_WORDS = new Set(["help", "--help", "-h"]);

/**
 * Runs one command line (without the program's own name) and resolves with the exit code of sysexits.h. Never rejects:
 * what goes wrong is told on `stderr`. A reader that goes away ends the command quietly.
 */
export async function runCli(argv: readonly string[], parts: CliParts): Promise<number> {
  try {
    return await dispatch(argv, parts);
  } catch (error) {
    return await tell(error, parts).catch(() => exit.ioError);
  }
}

async function dispatch(argv: readonly string[], parts: CliParts): Promise<number> {
  const [first] = argv;
  if (first === undefined) {
    await parts.stderr.write(overview(COMMANDS, parts.stderr));
    return exit.usage;
  }
  if (HELP_WORDS.has(first)) return await help(argv.slice(1), parts);
  if (first === "--version" || first === "-V") return await dispatch(["version"], parts);
  if (asksForHelp(argv)) return await help(argv, parts);
  const command = find(argv);
  const rest = argv.slice(command.name.split(" ").length);
  const shared = command.configured ? CONFIG_OPTIONS : [];
  const args = parseArguments(rest, [...command.options, ...shared, HELP]);
  return await command.run(args, parts);
}

/** Also beside flags that are wrong: who asks for help may not know them. */
function asksForHelp(argv: readonly string[]): boolean {
  const flags = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  return flags.includes("--help") || flags.includes("-h");
}

/** The help of what the first words name: a command, a group of commands, or nothing, which is all of them. */
async function help(words: readonly string[], parts: CliParts): Promise<number> {
  const flag = words.findIndex((word) => word.startsWith("-"));
  const named = words.slice(0, Math.min(flag < 0 ? words.length : flag, 2));
  const { stdout } = parts;
  const group = COMMANDS.filter(({ name }) => `${name} `.startsWith([...named, ""].join(" ")));
  const command = group.length === 1 ? group[0] : undefined;
  const list = group.length > 1 ? overview(group, stdout) : undefined;
  await stdout.write(list ?? helpFor(command ?? find(named), stdout));
  return exit.ok;
}

function find(argv: readonly string[]): Command {
  const command = COMMANDS.find(({ name }) => {
    return name === argv.slice(0, name.split(" ").length).join(" ");
  });
  if (command !== undefined) return command;
  const [first = "", second = ""] = argv;
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  const verbs = group.map(({ name }) => name.slice(first.length + 1));
  if (group.length > 0 && (second === "" || second.startsWith("-"))) {
    throw usageError(`${first} what? One of ${verbs.join(", ")}`);
  }
  if (group.length > 0) {
    throw usageError(`unknown command "${first} ${second}"${didYouMean(second, verbs)}`);
  }
  const names = COMMANDS.map(({ name }) => name.split(" ")[0] ?? "");
  throw usageError(`unknown command "${first}"${didYouMean(first, names)}`);
}

async function tell(error: unknown, { stderr }: CliParts): Promise<number> {
  if (error instanceof BrokenPipe) return exit.ok;
  const known = error instanceof CliError;
  const text = printable(known ? error.message : `internal error: ${String(error)}`, LINE_MAX);
  const hint = known && error.code === exit.usage ? 'Try "slimta-queue help".\n' : "";
  await stderr.write(`${paint(stderr, "red", "error:")} ${text}\n${hint}`);
  return known ? error.code : exit.software;
}
