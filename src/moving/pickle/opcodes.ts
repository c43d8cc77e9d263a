import { ascii, type Cursor, pythonText } from "./cursor.ts";
import { escapedBytes, escapedText } from "./escapes.ts";
import type { Stack } from "./stack.ts";
import {
  calling,
  classNamed,
  type Pickled,
  type PickledClass,
  PickledObject,
  PickleError,
} from "./values.ts";

/** What one opcode does. */
export type Opcode = (stack: Stack, cursor: Cursor) => void;

/** Bytes of a whole number: no count, time or size has more. */
const LONG_BYTES_MAX = 64;

/** Puts a value on the stack that it reads. */
function pushing(read: (cursor: Cursor) => Pickled): Opcode {
  return (stack, cursor) => stack.push(read(cursor));
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new PickleError("a number is none");
  return value;
}

/** In protocol 0 `00` and `01` are truth values. */
function integerLine(cursor: Cursor): Pickled {
  const text = ascii(cursor.line());
  if (text === "00") return false;
  return text === "01" ? true : number(text);
}

function longLine(cursor: Cursor): Pickled {
  const text = ascii(cursor.line()).replace(/L$/u, "");
  if (!/^-?\d{1,150}$/u.test(text)) throw new PickleError("a number is none");
  return shortened(BigInt(text));
}

/** Little end first, two's complement. */
function long(cursor: Cursor, length: number): Pickled {
  if (length > LONG_BYTES_MAX) throw new PickleError("a number is too large");
  let value = 0n;
  const bytes = cursor.take(length);
  for (const [index, byte] of bytes.entries()) value |= BigInt(byte) << BigInt(8 * index);
  return shortened(BigInt.asIntN(8 * length, value));
}

function shortened(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Keys that are byte strings of Python 2 are found by their text. */
function keyOf(key: Pickled): Pickled {
  return key instanceof Uint8Array ? pythonText(key) : key;
}

function setItems(map: Map<Pickled, Pickled>, items: readonly Pickled[]): void {
  if (items.length % 2 === 1) throw new PickleError("a key has no value");
  for (let index = 0; index < items.length; index += 2) {
    map.set(keyOf(items[index] ?? null), items[index + 1] ?? null);
  }
}

function tuple(stack: Stack, length: number): void {
  const items: Pickled[] = [];
  for (let index = 0; index < length; index += 1) items.unshift(stack.pop());
  stack.push(items);
}

function call(stack: Stack): void {
  const args = stack.pop();
  stack.push(calling(stack.pop(), args));
}

/** With arguments by name, which nothing of ours is made with. */
function callWithNames(stack: Stack): void {
  const names = stack.pop();
  if (!(names instanceof Map) || names.size > 0) throw new PickleError("it calls with names");
  call(stack);
}

function build(stack: Stack): void {
  const state = stack.pop();
  const made = stack.top();
  if (!(made instanceof PickledObject))
    throw new PickleError("it gives a state to what is no object");
  made.state = state;
}

/** Of Python 2: the class is under its arguments. */
function callMarked(stack: Stack): void {
  const [callable, ...args] = stack.popMark();
  stack.push(calling(callable, args));
}

function callNamed(stack: Stack, cursor: Cursor): void {
  const named = classLine(cursor);
  stack.push(calling(named, stack.popMark()));
}

function classLine(cursor: Cursor): PickledClass {
  const module = pythonText(cursor.line());
  return classNamed(module, pythonText(cursor.line()));
}

function classOnStack(stack: Stack): void {
  const [name, module] = [stack.pop(), stack.pop()];
  if (typeof name !== "string" || typeof module !== "string") {
    throw new PickleError("a class has no name");
  }
  stack.push(classNamed(module, name));
}

const NUMBERS: Readonly<Record<string, Opcode>> = {
  I: pushing(integerLine),
  L: pushing(longLine),
  F: pushing((cursor) => number(ascii(cursor.line()))),
  J: pushing((cursor) => cursor.int32()),
  K: pushing((cursor) => cursor.byte()),
  M: pushing((cursor) => cursor.uint16()),
  G: pushing((cursor) => cursor.float()),
  "\u008a": pushing((cursor) => long(cursor, cursor.byte())),
  "\u008b": pushing((cursor) => long(cursor, cursor.uint32())),
  N: pushing(() => null),
  "\u0088": pushing(() => true),
  "\u0089": pushing(() => false),
};

const TEXTS: Readonly<Record<string, Opcode>> = {
  S: pushing((cursor) => escapedBytes(ascii(cursor.line()))),
  T: pushing((cursor) => cursor.take(cursor.int32())),
  U: pushing((cursor) => cursor.take(cursor.byte())),
  V: pushing((cursor) => escapedText(cursor.line())),
  X: pushing((cursor) => pythonText(cursor.take(cursor.uint32()))),
  "\u008c": pushing((cursor) => pythonText(cursor.take(cursor.byte()))),
  "\u008d": pushing((cursor) => pythonText(cursor.take(cursor.uint64()))),
  B: pushing((cursor) => cursor.take(cursor.uint32())),
  C: pushing((cursor) => cursor.take(cursor.byte())),
  "\u008e": pushing((cursor) => cursor.take(cursor.uint64())),
  "\u0096": pushing((cursor) => cursor.take(cursor.uint64())),
};

const COLLECTIONS: Readonly<Record<string, Opcode>> = {
  "]": pushing(() => []),
  ")": pushing(() => []),
  "}": pushing(() => new Map()),
  "\u008f": pushing(() => new Set()),
  l: (stack) => stack.push(stack.popMark()),
  t: (stack) => stack.push(stack.popMark()),
  "\u0085": (stack) => tuple(stack, 1),
  "\u0086": (stack) => tuple(stack, 2),
  "\u0087": (stack) => tuple(stack, 3),
  d(stack) {
    const map = new Map<Pickled, Pickled>();
    setItems(map, stack.popMark());
    stack.push(map);
  },
  a(stack) {
    const item = stack.pop();
    stack.list().push(item);
  },
  e(stack) {
    const items = stack.popMark();
    const list = stack.list();
    for (const item of items) list.push(item);
  },
  s(stack) {
    const value = stack.pop();
    const key = stack.pop();
    setItems(stack.map(), [key, value]);
  },
  u(stack) {
    const items = stack.popMark();
    setItems(stack.map(), items);
  },
  "\u0090"(stack) {
    const items = stack.popMark();
    const set = stack.set();
    for (const item of items) set.add(item);
  },
  "\u0091": (stack) => stack.push(new Set(stack.popMark())),
};

const OBJECTS: Readonly<Record<string, Opcode>> = {
  c: (stack, cursor) => stack.push(classLine(cursor)),
  "\u0093": classOnStack,
  R: call,
  "\u0081": call,
  "\u0092": callWithNames,
  b: build,
  o: callMarked,
  i: callNamed,
};

const MACHINE: Readonly<Record<string, Opcode>> = {
  "\u0080": (_, cursor) => void cursor.byte(),
  "\u0095": (_, cursor) => void cursor.take(8),
  "(": (stack) => stack.mark(),
  "0": (stack) => stack.drop(),
  "1": (stack) => void stack.popMark(),
  "2": (stack) => stack.push(stack.top()),
  p: (stack, cursor) => stack.remember(number(ascii(cursor.line()))),
  q: (stack, cursor) => stack.remember(cursor.byte()),
  r: (stack, cursor) => stack.remember(cursor.uint32()),
  "\u0094": (stack) => stack.memoize(),
  g: (stack, cursor) => stack.recall(number(ascii(cursor.line()))),
  h: (stack, cursor) => stack.recall(cursor.byte()),
  j: (stack, cursor) => stack.recall(cursor.uint32()),
};

/** By their code, in the words of Python's `pickletools`: all but persistent ids, extensions and buffers from outside. */
export const OPCODES: ReadonlyMap<number, Opcode> = new Map(
  [NUMBERS, TEXTS, COLLECTIONS, OBJECTS, MACHINE].flatMap((group) =>
    Object.entries(group).map(([code, opcode]) => [code.charCodeAt(0), opcode] as const),
  ),
);
