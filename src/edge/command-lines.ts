import { joined } from "../mail/line-endings.ts";
import { type Reply, reply } from "../mail/reply.ts";

/** RFC 5321 §4.5.3.1.4 asks for 512; SMTPUTF8, DSN and long paths add to that. */
export const COMMAND_BYTES_MAX = 4096;

/** Cuts what a client sends into command lines, however it is split. */
export interface CommandLines {
  /** Reads on in `chunk` from `from`, to the end of one line at most; returns the index behind what was read. */
  take(chunk: Uint8Array, from: number): number;
  /** What the last `take` completed: a line without its end, the reply to one that cannot be read, or nothing yet. */
  readonly line: string | Reply | undefined;
}

const TOO_LONG = reply(500, "5.5.2", "Command line too long");
const UNREADABLE = reply(500, "5.5.2", "Command line has characters that cannot be in one");
const BARE_LF = reply(500, "5.5.2", "Command line ended by a bare LF");

const LF = 0x0a;
const CR = 0x0d;
const CONTROL = /\p{Cc}/u;
const NOTHING = new Uint8Array(0);

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Lines are UTF-8 without control characters and end with CRLF; also with LF alone unless `refusesBareLf`. */
export function commandLines(refusesBareLf: boolean): CommandLines {
  let line: string | Reply | undefined;
  /** The beginning of a line whose end has not come yet. */
  let held: Uint8Array = NOTHING;
  let length = 0;

  function read(bytes: Uint8Array): string | Reply {
    const isCrlf = bytes[bytes.length - 1] === CR;
    if (!isCrlf && refusesBareLf) return BARE_LF;
    try {
      const text = decoder.decode(isCrlf ? bytes.subarray(0, -1) : bytes);
      return CONTROL.test(text) ? UNREADABLE : text;
    } catch {
      return UNREADABLE;
    }
  }

  return {
    get line() {
      return line;
    },
    take(chunk, from) {
      const end = chunk.indexOf(LF, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      length += part.length;
      line = undefined;
      if (end < 0) {
        // A copy, so that a line that trickles in pins no chunks; what is over the limit is counted but not kept.
        held = length > COMMAND_BYTES_MAX ? NOTHING : joined([held, part]);
        return chunk.length;
      }
      line =
        length > COMMAND_BYTES_MAX
          ? TOO_LONG
          : read(length > part.length ? joined([held, part]) : part);
      held = NOTHING;
      length = 0;
      return end + 1;
    },
  };
}
