import { closeSync, openSync, readFileSync } from "node:fs";
import { atExit } from "./at-exit.ts";

/** A started program. Disposing ends it; none outlives the test process. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  /** All of stdout and stderr so far, in the order of arrival. */
  output(): string;
  /** The first line so far or to come that matches. Rejects when the program ends first or `timeoutMs` pass. */
  line(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** The exit code, or 128 + the signal's number. */
  readonly exited: Promise<number>;
  kill(signal?: NodeJS.Signals): void;
  /** TERM, and KILL when the program is still there after `graceMs`. Resolves to the exit code. */
  stop(graceMs?: number): Promise<number>;
}

export interface ChildOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What the program reads on stdin; nothing by default. */
  readonly input?: string | Uint8Array;
  /** How much of the output is kept; the oldest goes first. */
  readonly outputCharsMax?: number;
  /** Appends the output to this file instead: for programs that say more than a test should read. `line` sees none of it. */
  readonly outputFile?: string;
}

const LINE_TIMEOUT_MS = 15_000;
const STOP_GRACE_MS = 10_000;
const OUTPUT_CHARS_MAX = 4 * 1024 * 1024;

const running = new Set<{ kill(signal: NodeJS.Signals): void }>();
atExit("programs", () => {
  for (const child of running) child.kill("SIGKILL");
});

/**
 * Starts a program of this machine with these arguments. The environment is the test's own plus `env`, without what would
 * configure the product: variables such as SLIMTA_QUEUE_BINARY are for the tests.
 */
export function startChild(command: readonly string[], options: ChildOptions = {}): Child {
  const transcript = openTranscript(options.outputCharsMax ?? OUTPUT_CHARS_MAX);
  const file = options.outputFile === undefined ? undefined : openSync(options.outputFile, "a");
  const child = Bun.spawn([...command], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...ownEnvironment(), ...options.env },
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: file ?? "pipe",
    stderr: file ?? "pipe",
  });
  if (file !== undefined) closeSync(file);
  running.add(child);
  const read = Promise.all([transcript.read(child.stdout), transcript.read(child.stderr)]);
  const exited = child.exited.then(async (code) => {
    running.delete(child);
    // A grandchild may hold the pipes open: what it still says is not this program's.
    await Promise.race([read, Bun.sleep(200)]);
    transcript.end(`${command[0]} ended with ${code}`);
    return code;
  });
  const kill = (signal: NodeJS.Signals = "SIGTERM") => child.kill(signal);
  const stop = async (graceMs = STOP_GRACE_MS) => {
    kill("SIGTERM");
    const timer = setTimeout(() => kill("SIGKILL"), graceMs);
    try {
      return await exited;
    } finally {
      clearTimeout(timer);
    }
  };
  return {
    pid: child.pid,
    output: () =>
      options.outputFile === undefined
        ? transcript.text()
        : readFileSync(options.outputFile, "utf8"),
    line: (pattern, timeoutMs = LINE_TIMEOUT_MS) => transcript.line(pattern, timeoutMs),
    exited,
    kill,
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

function ownEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(Bun.env).filter(([name]) => !name.startsWith("SLIMTA_QUEUE_")),
  );
}

interface Waiter {
  readonly pattern: RegExp;
  resolve(match: RegExpExecArray): void;
  reject(error: Error): void;
}

/** Collects lines of several streams and lets others wait for one. */
function openTranscript(charsMax: number) {
  const waiters = new Set<Waiter>();
  let kept = "";
  let ended: string | undefined;

  const settle = (waiter: Waiter) => {
    for (const line of kept.split("\n")) {
      const match = waiter.pattern.exec(line);
      if (match === null) continue;
      waiters.delete(waiter);
      waiter.resolve(match);
      return;
    }
    if (ended === undefined) return;
    waiters.delete(waiter);
    waiter.reject(new Error(`${ended} before a line like ${waiter.pattern}:\n${kept}`));
  };
  const settleAll = () => {
    for (const waiter of waiters) settle(waiter);
  };

  return {
    text: () => kept,
    async read(stream: ReadableStream<Uint8Array> | number) {
      if (typeof stream === "number") return;
      const decoder = new TextDecoder();
      for await (const chunk of stream) {
        kept = (kept + decoder.decode(chunk, { stream: true })).slice(-charsMax);
        if (waiters.size > 0) settleAll();
      }
    },
    end(reason: string) {
      ended = reason;
      settleAll();
    },
    async line(pattern: RegExp, timeoutMs: number) {
      const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
      const waiter = { pattern, resolve, reject };
      const timer = setTimeout(() => {
        waiters.delete(waiter);
        reject(new Error(`no line like ${pattern} within ${timeoutMs} ms:\n${kept}`));
      }, timeoutMs);
      waiters.add(waiter);
      settle(waiter);
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
