import type { Arguments } from "./arguments.ts";
import { usageError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";

export const transfer: Command = {
  name: "transfer",
  summary: "move all mail from one store to another one",
  usage: "--from STORE --to STORE [--dry-run] [--json] [flags]",
  details:
    "A STORE is what --spool takes: a directory, redis://..., s3://..., postgres://... Keeps ids, attempts, times,\n" +
    "holds and the history of each recipient. May be killed at any time and run again: nothing is lost or doubled,\n" +
    "and at no time could both stores deliver the same message. The daemon of a directory has to be stopped;\n" +
    "mail that a node of another store is delivering is left there and named. Exits with 0 when all is moved,\n" +
    "75 when running it again goes on, 65 when something was left that somebody has to look at.",
  options: [
    { name: "from", value: "STORE", doc: "where the mail is" },
    { name: "to", value: "STORE", doc: "where it goes" },
    { name: "dry-run", doc: "count what would be moved, and move nothing" },
    { name: "json", doc: "tell what was done as JSON" },
  ],
  configured: true,
  examples: [
    "slimta-queue transfer --from /var/spool/slimta-queue --to redis://queue.example.org/0",
    "slimta-queue transfer --from postgres://db.example.org/mail --to /var/spool/slimta-queue --dry-run",
  ],
  run: (args, parts) => {
    if (args.positionals.length > 0) throw usageError("transfer takes flags only");
    const options = {
      from: required(args, "from"),
      to: required(args, "to"),
      dryRun: args.has("dry-run"),
      json: args.has("json"),
    };
    return withConfig(args, parts, ({ config }) => {
      return parts.transfer(config, { ...options, signal: parts.stopSignal() }, parts);
    });
  },
};

/** The value of a flag that has to be there. */
export function required(args: Arguments, name: string, kind = "STORE"): string {
  const value = args.get(name);
  if (value === undefined || value === "") throw usageError(`--${name} ${kind} is missing`);
  return value;
}
