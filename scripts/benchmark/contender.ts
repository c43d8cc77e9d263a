import { flush, queueOf } from "../../tests/e2e/help.ts";
import { BINARY, startDaemon } from "../../tests/support/binary.ts";
import { postfixInstance } from "../../tests/support/postfix.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";

export type ContenderName = "ours" | "postfix";

/**
 * A mail queue that is up, on a fresh spool. Disposing ends it; the spool stays until the benchmark is over, because where
 * many files were deleted within the last minutes ext4 takes thirty times as long to create one, and would charge it to
 * the next run.
 */
export interface Contender extends AsyncDisposable {
  readonly smtpPort: number;
  /** The process whose tree is the whole server. */
  readonly pid: number;
  /** Processes of others that it keeps its queue in, by name. */
  readonly servers: Readonly<Record<string, number>>;
  /** Messages that it keeps. */
  queued(): Promise<number>;
  /** Those of them that wait for later: no attempt is under way or about to be made. */
  waiting(): Promise<number>;
  /** Makes everything due; resolves when the command has answered. */
  flush(): Promise<void>;
}

export interface ContenderOptions {
  /** The port of the next hop on 127.0.0.1, or keep and never attempt. */
  readonly nextHop: number | "none";
  /** Where spools lie: on the disk that is measured. */
  readonly parent: string;
}

/** Starts one of them with its stock settings, and waits until it accepts mail. */
export async function startContender(
  name: ContenderName,
  options: ContenderOptions,
): Promise<Contender> {
  return name === "ours" ? await startOurs(options) : await startPostfix(options);
}

/** What only ours can be told. */
export interface OursOptions extends ContenderOptions {
  /** The store that the queue is kept in, and its processes by name; a fresh directory without it. */
  readonly spool?: string;
  readonly servers?: Readonly<Record<string, number>>;
}

/** Starts ours. */
export async function startOurs({
  nextHop,
  parent,
  spool,
  servers = {},
}: OursOptions): Promise<Contender> {
  const dir = tempDir("bench", parent);
  const relay = nextHop === "none" ? "none" : `smtp://127.0.0.1:${nextHop}`;
  const daemon = await startDaemon({
    command: [BINARY],
    spool: spool ?? dir.join("spool"),
    args: ["--relay", relay, "--set", "admin.socket=off"],
    outputFile: dir.join("log"),
  });
  return {
    smtpPort: daemon.smtpPort,
    pid: daemon.pid,
    servers,
    queued: async () => (await queueOf(daemon)).size,
    // While a next hop is suspended even what was never tried waits for it.
    waiting: async () => {
      const { size, states, delivering } = await queueOf(daemon);
      return size - Math.max(delivering, states.active);
    },
    flush: async () => void (await flush(daemon)),
    [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose](),
  };
}

async function startPostfix({ nextHop, parent }: ContenderOptions): Promise<Contender> {
  const keep = nextHop === "none";
  const postfix = await postfixInstance({
    parent,
    relayhost: `[127.0.0.1]:${keep ? 9 : nextHop}`,
    main: keep ? { defer_transports: "smtp" } : {},
  });
  return {
    smtpPort: postfix.port,
    pid: postfix.masterPid(),
    servers: {},
    queued: () => postfix.queued(),
    waiting: () => postfix.queued("deferred"),
    async flush() {
      postfix.command("postqueue", "-f");
    },
    [Symbol.asyncDispose]: () => postfix.stop(),
  };
}
