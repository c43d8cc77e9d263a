import { existsSync, readFileSync } from "node:fs";
import { homedir, hostname } from "node:os";
import manifest from "../package.json" with { type: "json" };
import { fsck } from "./app/fsck.ts";
import { importQueue } from "./app/import.ts";
import { type ServeFacts, serve } from "./app/serve.ts";
import { transferMail } from "./app/transfer.ts";
import { BrokenPipe } from "./cli/cli-error.ts";
import type { CliParts, Writer } from "./cli/parts.ts";
import { runCli } from "./cli/run.ts";
import { realWorld } from "./lib/world.ts";
import { durability } from "./selftest/durability.ts";

declare const BUILD_VERSION: string;
declare const BUILD_COMMIT: string;

const version = {
  version: typeof BUILD_VERSION === "string" ? BUILD_VERSION : manifest.version,
  commit: typeof BUILD_COMMIT === "string" ? BUILD_COMMIT : "development",
};

/** How this program is run again: the executable alone, or Bun with the source. */
const isExecutable = typeof BUILD_VERSION === "string";
const command = isExecutable ? [process.execPath] : [process.execPath, import.meta.path];

const parts: CliParts = {
  serve: (config) => {
    const end = (code: number): void => process.exit(code);
    return serve(config, { version: version.version, end, ...watched(config.log.format) });
  },
  fsck,
  transfer: transferMail,
  importMail: importQueue,
  selftest: (options, io) => {
    const world = realWorld;
    const stop = stopSignal();
    return durability(options, io, { command, world, nanoseconds: Bun.nanoseconds, stop });
  },
  env: process.env,
  facts: {
    uid: process.getuid?.() ?? 0,
    home: process.env.HOME ?? homedir(),
    hostname: hostname(),
  },
  readFile,
  stdin: Bun.stdin.stream(),
  stdout: writer(process.stdout),
  stderr: writer(process.stderr),
  // The platform would give up after five minutes; how long to wait is said by `signal`.
  fetch: (url, init) => fetch(url, { ...init, timeout: false }),
  exists: existsSync,
  random: realWorld.random,
  stopSignal,
  version,
};

process.exitCode = await runCli(process.argv.slice(2), parts);

/** Somebody who started `serve` in a terminal is told what to try next; logs that are read by programs are left alone. */
function watched(format: "text" | "json"): Pick<ServeFacts, "show"> {
  if (process.stdout.isTTY !== true || format === "json") return {};
  return { show: (text) => void process.stderr.write(text) };
}

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function writer(stream: NodeJS.WriteStream): Writer {
  // Told by the callback of each write; without a listener it would end the process.
  stream.on("error", () => undefined);
  return {
    colour: stream.isTTY === true && !process.env.NO_COLOR,
    write: (data) => {
      return new Promise((resolve, reject) => {
        stream.write(data, (error) => (error ? reject(asBrokenPipe(error)) : resolve()));
      });
    },
  };
}

function asBrokenPipe(error: Error): Error {
  const { code } = error as NodeJS.ErrnoException;
  return code === "EPIPE" ? new BrokenPipe("nobody reads the output", { cause: error }) : error;
}

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}
