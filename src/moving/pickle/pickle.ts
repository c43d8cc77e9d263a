import { Cursor } from "./cursor.ts";
import { OPCODES } from "./opcodes.ts";
import { Stack } from "./stack.ts";
import { type Pickled, PickleError } from "./values.ts";

/** Octets of one pickle: a message of the parent is in memory whole, as it was there. */
export const PICKLE_BYTES_MAX: number = 512 * 1024 * 1024;

const STOP = 0x2e;

/**
 * Reads a pickle of protocol 0 to 5 as data. Nothing that it names is looked up, called or made, whatever it says: what
 * Python would call is noted as a record, and only names that mail needs may stand there at all. Throws `PickleError` for
 * everything else, and for what is damaged; needs memory in proportion to the pickle and time in proportion to its length.
 */
export function readPickle(bytes: Uint8Array): Pickled {
  if (bytes.length > PICKLE_BYTES_MAX) throw new PickleError("it is too large");
  const cursor = new Cursor(bytes);
  const stack = new Stack();
  while (true) {
    const code = cursor.byte();
    if (code === STOP) return stack.result();
    const opcode = OPCODES.get(code);
    if (opcode === undefined) throw new PickleError(`it has opcode 0x${code.toString(16)}`);
    opcode(stack, cursor);
  }
}
