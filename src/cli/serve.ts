import type { Command } from "./command.ts";
import { serviceIo, withConfig } from "./configured.ts";

export const serve: Command = {
  name: "serve",
  summary: "accept, keep and relay mail",
  usage: "[flags]",
  details: "Runs until TERM or INT. Without any configuration it listens on loopback only.",
  options: [],
  configured: true,
  examples: [
    "slimta-queue serve",
    "slimta-queue serve --relay smtp://mail.example.org:25 --trust 10.0.0.0/8 --smtp 0.0.0.0:25",
    "slimta-queue serve --relay none --spool /tmp/spool --set smtp.size_max=50MiB",
  ],
  run: (args, parts) => {
    return withConfig(args, parts, ({ config }) => parts.serve(config, serviceIo(args, parts)));
  },
};
