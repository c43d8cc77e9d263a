import type { Clock } from "../lib/world.ts";

/** A daemon of our own that is killed and started again at the same spool. */
export interface Victim {
  /** Where it takes mail. */
  readonly port: number;
  /** From its start until it took mail. */
  readonly startMs: number;
  /** Ends it with -9. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Ends it with TERM. Resolves to its exit code. */
  stop(): Promise<number>;
  /** The last that it said. */
  output(): string;
}

export interface VictimOptions {
  /** How this program is run, before `serve`. */
  readonly command: readonly string[];
  readonly spool: string;
  /** An empty file: the machine's configuration must not count. */
  readonly configFile: string;
  readonly relayPort: number;
  readonly clock: Clock;
}

/** It said something else, or nothing for too long, instead of starting. */
export class StartFailed extends Error {
  override readonly name = "StartFailed";
}

const START_MS_MAX = 30_000;
const STOP_MS_MAX = 40_000;
const OUTPUT_CHARS_MAX = 8000;
const READY = /\bsmtp 127\.0\.0\.1:(\d+), admin\b/u;

/** Starts it on ports that are free, and waits until it is ready. Throws `StartFailed`. */
export async function startVictim(options: VictimOptions): Promise<Victim> {
  const { clock } = options;
  const startedAt = clock.now();
  // Nothing of the environment is handed down: it could configure it.
  const child = Bun.spawn([...options.command, "serve", ...flagsOf(options)], {
    env: {},
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const said = listen([child.stdout, child.stderr], READY);
  const overdue = () => child.kill("SIGKILL");
  const cancel = clock.after(START_MS_MAX, overdue);
  const match = await Promise.race([said.match, child.exited.then(() => undefined)]);
  cancel();
  if (match === undefined) {
    await said.ended;
    throw new StartFailed(`it does not start: ${said.text().trim().slice(-1000)}`);
  }
  return {
    port: Number(match[1]),
    startMs: clock.now() - startedAt,
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
    },
    async stop() {
      child.kill("SIGTERM");
      const cancelStop = clock.after(STOP_MS_MAX, overdue);
      const code = await child.exited;
      cancelStop();
      return code;
    },
    output: said.text,
  };
}

function flagsOf({ configFile, spool, relayPort }: VictimOptions): readonly string[] {
  return [
    ...["--config", configFile, "--spool", spool, "--hostname", "selftest.example.test"],
    ...["--smtp", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "admin.socket=off"],
    ...["--relay", `smtp://127.0.0.1:${relayPort}`],
    ...["--set", "queue.retry=1s", "--set", "queue.jitter=0%"],
    ...["--set", "spool.free_min=0", "--set", "spool.free_min_percent=0%"],
  ];
}

/** Reads streams to their end, keeps the last of it, and looks for one line. */
function listen(streams: readonly ReadableStream<Uint8Array>[], pattern: RegExp) {
  const match = Promise.withResolvers<RegExpExecArray>();
  let kept = "";
  let isFound = false;
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      kept = (kept + decoder.decode(chunk, { stream: true })).slice(-OUTPUT_CHARS_MAX);
      const found = isFound ? null : pattern.exec(kept);
      if (found === null) continue;
      isFound = true;
      match.resolve(found);
    }
  };
  const ended = Promise.all(streams.map(read));
  return { match: match.promise, ended, text: () => kept };
}
