import { importCommand, requireNoWords } from "./import-command.ts";

export const importPostfix = importCommand({
  what: "postfix",
  summary: "take over the queue of a Postfix",
  usage: "[--queue-dir DIR] [--config-dir DIR]",
  details:
    "Reads incoming, active, deferred and held mail with Postfix's own postcat; recipients that have the mail do not\n" +
    "get it again, and what is on hold is held here. Mail in maildrop is left, which Postfix has not looked at yet.",
  options: [
    { name: "queue-dir", value: "DIR", doc: "the queue, instead of the one that is configured" },
    { name: "config-dir", value: "DIR", doc: "the directory of main.cf (/etc/postfix)" },
  ],
  examples: [
    "postfix stop && slimta-queue import postfix --to /var/spool/slimta-queue --remove",
    "slimta-queue import postfix --queue-dir /mnt/old/var/spool/postfix --to redis://localhost/0 --dry-run",
  ],
  from: (args) => {
    requireNoWords(args, "postfix");
    return { kind: "postfix", queueDir: args.get("queue-dir"), configDir: args.get("config-dir") };
  },
});
