import type { CliParts, ServiceIo, Writer } from "../../src/cli/parts.ts";
import { runCli } from "../../src/cli/run.ts";
import type { Config } from "../../src/config/config.ts";

/** What one command line did. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Recorder extends Writer {
  text(): string;
  bytes(): Uint8Array;
}

export function recorder(): Recorder {
  const chunks: Uint8Array[] = [];
  return {
    colour: false,
    async write(data) {
      chunks.push(typeof data === "string" ? new TextEncoder().encode(data) : data.slice());
    },
    text: () => Buffer.concat(chunks).toString("utf8"),
    bytes: () => Buffer.concat(chunks),
  };
}

/** Parts of a program that has no daemon and no files. */
export function parts(given: Partial<CliParts> = {}): CliParts {
  return {
    serve: async () => 0,
    fsck: async () => 0,
    transfer: async () => 0,
    importMail: async () => 0,
    selftest: async () => 0,
    env: {},
    facts: { uid: 0, home: "/root", hostname: "mx.example.org" },
    readFile: () => undefined,
    stdin: none(),
    stdout: recorder(),
    stderr: recorder(),
    fetch: (url, init) => fetch(url, init),
    exists: () => false,
    random: () => 0.999,
    stopSignal: () => new AbortController().signal,
    version: { version: "1.2.3", commit: "abc" },
    ...given,
  };
}

export async function run(argv: readonly string[], given: Partial<CliParts> = {}): Promise<Ran> {
  const [stdout, stderr] = [recorder(), recorder()];
  const code = await runCli(argv, parts({ stdout, stderr, ...given }));
  return { code, out: stdout.text(), err: stderr.text() };
}

/** The configuration that `serve` gets for these flags. */
export async function served(argv: readonly string[], given: Partial<CliParts> = {}) {
  let got: { config: Config; io: ServiceIo } | undefined;
  const serve: CliParts["serve"] = async (config, io) => {
    got = { config, io };
    return 0;
  };
  const ran = await run(["serve", ...argv], { serve, ...given });
  if (got === undefined) throw new Error(ran.err);
  return got;
}

export async function* stream(...chunks: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield new TextEncoder().encode(chunk);
}

async function* none(): AsyncGenerator<Uint8Array> {
  // Nothing is typed.
}
