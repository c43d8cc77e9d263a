import type { Command } from "./command.ts";
import { serviceIo, withConfig } from "./configured.ts";

export const fsck: Command = {
  name: "fsck",
  summary: "check the spool while no daemon uses it",
  usage: "[--repair] [flags]",
  options: [{ name: "repair", doc: "put right what can be, move aside what cannot" }],
  configured: true,
  examples: ["slimta-queue fsck", "slimta-queue fsck --repair --spool /var/spool/slimta-queue"],
  run: (args, parts) => {
    const repair = args.has("repair");
    return withConfig(args, parts, ({ config }) => {
      return parts.fsck(config, { repair }, serviceIo(args, parts));
    });
  },
};
