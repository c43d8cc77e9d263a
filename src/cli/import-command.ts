import type { Arguments, Option } from "./arguments.ts";
import { usageError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";
import type { ForeignQueue } from "./parts.ts";
import { required } from "./transfer.ts";

/** What is particular to the queue of one program. */
export interface ImportCommand extends Pick<Command, "summary" | "usage" | "options" | "examples"> {
  /** `postfix`: what stands behind `import`. */
  readonly what: string;
  readonly details: string;
  /** Reads what says where that queue is. */
  readonly from: (args: Arguments) => ForeignQueue;
}

const OPTIONS: readonly Option[] = [
  { name: "to", value: "STORE", doc: "where it goes: what --spool takes" },
  { name: "remove", doc: "remove from the old queue what is stored in the new one" },
  { name: "dry-run", doc: "read everything, and store nothing" },
  { name: "json", doc: "tell what was done as JSON" },
];

const DETAILS =
  "The other program has to be stopped. What cannot be read is named, left, and does not keep the rest. May be killed\n" +
  "at any time and run again. Without --remove a later run takes again what was delivered meanwhile: put the old queue\n" +
  "away. Exits with 0 when all is taken, 75 when running it again goes on, 65 when something needs to be looked at.";

/** A command that takes over the queue of another program. */
export function importCommand(given: ImportCommand): Command {
  const { what, summary, usage, options, details, examples, from } = given;
  return {
    name: `import ${what}`,
    summary,
    usage: `${usage} --to STORE [--remove] [--dry-run] [--json] [flags]`,
    details: `${details}\n${DETAILS}`,
    options: [...options, ...OPTIONS],
    configured: true,
    examples,
    run: (args, parts) => {
      const asked = {
        from: from(args),
        to: required(args, "to"),
        remove: args.has("remove"),
        dryRun: args.has("dry-run"),
        json: args.has("json"),
      };
      return withConfig(args, parts, ({ config }) => {
        return parts.importMail(config, { ...asked, signal: parts.stopSignal() }, parts);
      });
    },
  };
}

/** A command that takes flags only. */
export function requireNoWords(args: Arguments, what: string): void {
  if (args.positionals.length > 0) throw usageError(`import ${what} takes flags only`);
}
