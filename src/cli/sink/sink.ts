import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { formatHostPort, type HostPort, readHostPort } from "../../config/network.ts";
import { exit } from "../../lib/sysexits.ts";
import { type Arguments, oneOfWords, wholeNumber } from "../arguments.ts";
import { CliError, usageError } from "../cli-error.ts";
import type { Command } from "../command.ts";
import type { CliParts } from "../parts.ts";
import { FAULTS, faultDice, readShare, STAGES, seeded } from "./faults.ts";
import { openSinkServer, type SinkServer } from "./server.ts";
import type { SessionOptions } from "./session.ts";
import { messageStore, PRINTS, type Tally } from "./store.ts";

const DEFAULT_LISTEN = "127.0.0.1:2526";
const SIZE_MAX = 100 * 1024 * 1024;
const RECIPIENTS_MAX = 10_000;

export const sink: Command = {
  name: "sink",
  summary: "receive mail for trying things out: print, count, save, or fail a share of it",
  usage: "[flags]",
  details: "Prints one line for each message and a count at the end. Nothing is relayed or kept.",
  options: [
    { name: "listen", value: "HOST:PORT", doc: `where to listen (${DEFAULT_LISTEN})` },
    { name: "print", value: PRINTS.join("|"), doc: "what to print of a message (line)" },
    { name: "save", value: "DIR", doc: "write each message to a file" },
    { name: "defer", value: "SHARE", doc: "put off this share with 4xx" },
    { name: "reject", value: "SHARE", doc: "refuse this share with 5xx" },
    { name: "stall", value: "SHARE", doc: "say nothing more in this share" },
    { name: "drop", value: "SHARE", doc: "close the connection in this share" },
    { name: "at", value: STAGES.join("|"), doc: "where that happens (rcpt)" },
    { name: "seed", value: "N", doc: "the same seed makes the same choices" },
    { name: "reject-address", value: "ADDRESS", doc: "refuse this recipient with 550; repeatable" },
    { name: "max-messages", value: "N", doc: "end after so many" },
  ],
  configured: false,
  examples: [
    "slimta-queue sink",
    "slimta-queue sink --listen 127.0.0.1:2526 --defer 10% --reject 5% --at dot --seed 7",
    "slimta-queue sink --print count --max-messages 10000",
  ],
  async run(args, parts) {
    if (args.positionals.length > 0) throw usageError("sink takes flags only");
    const listen = listenAt(args);
    const tally: Tally = { messages: 0, recipients: 0, bytes: 0 };
    const done = new AbortController();
    const options = await sessionOptions(args, parts, tally, () => done.abort());
    const stop = AbortSignal.any([parts.stopSignal(), done.signal]);
    await using server = await listening(listen, options);
    await parts.stdout.write(`listening on ${formatHostPort(server.address)}\n`);
    if (!stop.aborted) await once(stop, "abort");
    // Who stops the sink does not wait for its clients.
    if (done.signal.aborted) await server.drain();
    const { messages, recipients, bytes } = tally;
    await parts.stdout.write(
      `received ${messages} messages, ${recipients} recipients, ${bytes} bytes\n`,
    );
    return exit.ok;
  },
};

function listenAt(args: Arguments): HostPort {
  const text = args.get("listen") ?? DEFAULT_LISTEN;
  const listen = readHostPort(text);
  if (listen === undefined) throw usageError(`--listen: expected HOST:PORT, found "${text}"`);
  return listen;
}

async function listening(listen: HostPort, options: SessionOptions): Promise<SinkServer> {
  try {
    return await openSinkServer(listen, options);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `cannot listen on ${formatHostPort(listen)}: ${reason}`;
    throw new CliError(message, { code: exit.unavailable, cause });
  }
}

async function sessionOptions(
  args: Arguments,
  parts: CliParts,
  tally: Tally,
  full: () => void,
): Promise<SessionOptions> {
  const most = args.get("max-messages");
  const messagesMax =
    most === undefined ? Number.POSITIVE_INFINITY : wholeNumber("max-messages", most, 1, 1e12);
  const directory = args.get("save");
  const print = oneOfWords("print", args.get("print") ?? "line", PRINTS);
  const faults = faultDice(faultOptions(args), dice(args, parts));
  if (directory !== undefined) await makeDirectory(directory);
  const received = () => {
    if (tally.messages >= messagesMax) full();
  };
  return {
    hostname: "sink.localhost",
    sizeMax: SIZE_MAX,
    recipientsMax: RECIPIENTS_MAX,
    // Clients that are still there hear "later" once the sink has had enough.
    faults: (stage) => (tally.messages >= messagesMax ? "defer" : faults(stage)),
    unknown: new Set(args.all("reject-address").map((address) => address.toLowerCase())),
    begin: messageStore({ print, directory, out: parts.stdout, tally, received }),
  };
}

function faultOptions(args: Arguments) {
  const share = (flag: string) => readShare(flag, args.get(flag) ?? "0%");
  const shares = {
    defer: share("defer"),
    reject: share("reject"),
    stall: share("stall"),
    drop: share("drop"),
  };
  const together = FAULTS.reduce((sum, fault) => sum + shares[fault], 0);
  // A little more than 1, for sums such as 0.7 + 0.1 + 0.2.
  if (together > 1.000001) throw usageError(`${FAULTS.join(", ")} are more than 100% together`);
  return { shares, stage: oneOfWords("at", args.get("at") ?? "rcpt", STAGES) };
}

function dice(args: Arguments, { random }: CliParts): () => number {
  const seed = args.get("seed");
  return seed === undefined ? random : seeded(wholeNumber("seed", seed, 0, 2 ** 32 - 1));
}

async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(`cannot make ${directory}: ${reason}`, { code: exit.data, cause });
  }
}
