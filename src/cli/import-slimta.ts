import { usageError } from "./cli-error.ts";
import { importCommand, requireNoWords } from "./import-command.ts";
import { required } from "./transfer.ts";

const PREFIX = "slimta:";

export const importSlimtaDisk = importCommand({
  what: "slimta-disk",
  summary: "take over a python-slimta queue on disk",
  usage: "--env-dir DIR --meta-dir DIR",
  details: "Reads python-slimta's pickles as data: nothing in them is run, whatever they say.",
  options: [
    { name: "env-dir", value: "DIR", doc: "its env_dir: the messages" },
    { name: "meta-dir", value: "DIR", doc: "its meta_dir: times and attempts" },
  ],
  examples: [
    "slimta-queue import slimta-disk --env-dir /var/spool/slimta/env --meta-dir /var/spool/slimta/meta \\\n" +
      "    --to /var/spool/slimta-queue --remove",
  ],
  from: (args) => {
    requireNoWords(args, "slimta-disk");
    const [envDir, metaDir] = [required(args, "env-dir", "DIR"), required(args, "meta-dir", "DIR")];
    return { kind: "slimta-disk", envDir, metaDir };
  },
});

export const importSlimtaRedis = importCommand({
  what: "slimta-redis",
  summary: "take over a python-slimta queue in Redis",
  usage: "URL",
  details: "Reads python-slimta's pickles as data: nothing in them is run, whatever they say.",
  options: [{ name: "prefix", value: "TEXT", doc: `what its keys begin with (${PREFIX})` }],
  examples: [
    "slimta-queue import slimta-redis redis://localhost/0 --to /var/spool/slimta-queue --remove",
  ],
  from: (args) => {
    const [url, ...rest] = args.positionals;
    if (url === undefined || rest.length > 0) throw usageError("import slimta-redis takes one URL");
    return { kind: "slimta-redis", url, prefix: args.get("prefix") ?? PREFIX };
  },
});
