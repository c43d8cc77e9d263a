/** A system call as strace tells of it. Of one that other threads' calls came in between, start and end are apart. */
export interface SystemCall {
  readonly at: "start" | "end";
  readonly name: string;
  readonly args: readonly string[];
  /** Only known at the end. */
  readonly result: number;
}

/** Whatever changes files, and whatever would do so in a way that nobody here follows. */
export const TRACED = [
  ...["open", "openat", "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3", "fcntl"],
  ...[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "copy_file_range",
    "sendfile",
    "splice",
  ],
  ...["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync", "io_uring_setup"],
  ...[
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
  ],
  ...["mkdir", "mkdirat", "ftruncate", "truncate", "fallocate", "lseek"],
];

/** Longer strings would be cut off: the engine writes no more than this at once in what is recorded. */
const STRING_BYTES_MAX = 1024 * 1024;

/** Long enough for whoever does not wait for a sync to be seen going on. */
const SYNC_DELAY = "inject=fsync,fdatasync:delay_enter=1000";

/** The command that runs another under strace: every octet of every string is written as \xNN. */
export function straced(log: string, command: readonly string[]): readonly string[] {
  const what = ["-e", `trace=${TRACED.join(",")}`, "-e", SYNC_DELAY];
  const how = ["-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-xx"];
  return ["strace", ...how, "-s", String(STRING_BYTES_MAX), ...what, "-o", log, ...command];
}

/** Reads what `straced` wrote, in the order in which it happened. */
export function* systemCalls(log: string): Generator<SystemCall> {
  const unfinished = new Map<string, string>();
  for (const line of log.split("\n")) {
    const space = line.indexOf(" ");
    const [thread, text] = [line.slice(0, space), line.slice(space).trimStart()];
    if (text === "" || text.startsWith("+++") || text.startsWith("---")) continue;
    if (text.endsWith("<unfinished ...>")) {
      const head = text.slice(0, -"<unfinished ...>".length);
      unfinished.set(thread, head.trimEnd());
      yield { at: "start", ...callOf(head), result: Number.NaN };
    } else if (text.startsWith("<...")) {
      const head = unfinished.get(thread) ?? "";
      unfinished.delete(thread);
      yield ended(head + text.slice(text.indexOf(">") + 1));
    } else {
      const end = ended(text);
      yield { ...end, at: "start", result: Number.NaN };
      yield end;
    }
  }
}

/** The octets of a string argument. */
export function bytesOfString(arg: string): Buffer {
  if (arg.endsWith("...")) throw new Error("strace cut a string short");
  return Buffer.from(arg.slice(1, -1).replaceAll("\\x", ""), "hex");
}

function ended(text: string): SystemCall {
  // The end of the line is enough: the beginning may hold a mebibyte.
  const tailAt = Math.max(0, text.length - 200);
  const tail = /\)\s+= (-?\d+|\?)[^=]*$/u.exec(text.slice(tailAt));
  if (tail === null) throw new Error(`not a line of strace: ${text.slice(0, 200)}`);
  return {
    at: "end",
    ...callOf(text.slice(0, tailAt + tail.index)),
    result: tail[1] === "?" ? -1 : Number(tail[1]),
  };
}

function callOf(head: string): Pick<SystemCall, "name" | "args"> {
  const open = head.indexOf("(");
  const args = head.slice(open + 1).split(", ");
  return { name: head.slice(0, open), args: args.map((arg) => arg.trim()) };
}
