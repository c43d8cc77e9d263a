import { exit } from "../lib/sysexits.ts";
import type { Command } from "./command.ts";

export const version: Command = {
  name: "version",
  summary: "print the version and the commit it was built from",
  usage: "",
  options: [],
  configured: false,
  examples: ["slimta-queue version"],
  async run(_, { stdout, version: { version: number, commit } }) {
    await stdout.write(`slimta-queue ${number} (${commit})\n`);
    return exit.ok;
  },
};
