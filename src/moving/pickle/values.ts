/**
 * What a pickle says, as data and nothing but data. Bytes are `Uint8Array`, also the byte strings of Python 2; lists and
 * tuples are arrays, dictionaries maps; a class is its name, and what would be made by calling it an inert record.
 */
export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickledClass
  | PickledObject
  | Pickled[]
  | Map<Pickled, Pickled>
  | Set<Pickled>;

/** A class or function that a pickle names, such as `email.message.Message`. Nobody ever looks it up. */
export class PickledClass {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** Something that Python would have made by calling what is named: here it is only noted with what. */
export class PickledObject {
  readonly name: string;
  readonly args: readonly Pickled[];
  /** What `__setstate__` would have been given. */
  state: Pickled = null;

  constructor(name: string, args: readonly Pickled[]) {
    this.name = name;
    this.args = args;
  }
}

/** The pickle is damaged, or says something that plain mail does not need. */
export class PickleError extends Error {
  override readonly name = "PickleError";
}

/**
 * What may be named at all: the parent's envelope and bounce, the classes of Python's `email`, and the few names by which old
 * protocols spell bytes, sets and objects.
 */
const NAMES = new Set([
  "slimta.envelope.Envelope",
  "slimta.bounce.Bounce",
  "builtins.object",
  "builtins.bytes",
  "builtins.bytearray",
  "builtins.set",
  "builtins.frozenset",
  "builtins.list",
  "builtins.dict",
  "collections.OrderedDict",
  "copyreg._reconstructor",
  "copyreg.__newobj__",
  "_codecs.encode",
]);
const EMAIL =
  /^email\.(?:message\.Message|_policybase\.Compat32|charset\.Charset|header\.Header|errors\.\w+)$/u;

/** The modules of Python 2 by their names of today. */
const RENAMED: Readonly<Record<string, string>> = {
  __builtin__: "builtins",
  copy_reg: "copyreg",
  "email.Message": "email.message",
  "email.Charset": "email.charset",
  "email.Header": "email.header",
};

/** The class of this name; throws when it is none that mail needs. */
export function classNamed(module: string, name: string): PickledClass {
  const full = `${RENAMED[module] ?? module}.${name}`;
  if (NAMES.has(full) || EMAIL.test(full)) return new PickledClass(full);
  throw new PickleError(`it names ${full.slice(0, 100)}, which no mail needs`);
}

/** A record for what would be made by calling this. */
export function calling(callable: Pickled | undefined, args: Pickled | undefined): PickledObject {
  if (!(callable instanceof PickledClass)) throw new PickleError("it calls what is no class");
  if (!Array.isArray(args)) throw new PickleError("it calls with what are no arguments");
  const { name } = callable;
  if (name !== "copyreg._reconstructor" && name !== "copyreg.__newobj__") {
    return new PickledObject(name, args);
  }
  const [made, ...rest] = args;
  if (!(made instanceof PickledClass)) throw new PickleError("it makes what is no class");
  return new PickledObject(made.name, name === "copyreg.__newobj__" ? rest : []);
}

/** Bytes, however the protocol has spelt them; `undefined` for anything else. */
export function bytesIn(value: Pickled | undefined): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  if (!(value instanceof PickledObject) || !BYTES.has(value.name)) return undefined;
  const [first, encoding] = value.args;
  if (first === undefined) return new Uint8Array(0);
  if (first instanceof Uint8Array) return first;
  const isLatin1 = encoding === "latin1" || encoding === "latin-1";
  return isLatin1 && typeof first === "string" ? latin1(first) : undefined;
}

const BYTES = new Set(["_codecs.encode", "builtins.bytes", "builtins.bytearray"]);

function latin1(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code > 0xff) return undefined;
    bytes[index] = code;
  }
  return bytes;
}

/** What is in a list, tuple or set, however the protocol has spelt it; `undefined` for anything else. */
export function itemsIn(value: Pickled | undefined): readonly Pickled[] | undefined {
  if (Array.isArray(value)) return value;
  return setIn(value);
}

/** What is in a set, however the protocol has spelt it; `undefined` for anything else. */
export function setIn(value: Pickled | undefined): readonly Pickled[] | undefined {
  if (value instanceof Set) return [...value];
  if (!(value instanceof PickledObject)) return undefined;
  if (value.name !== "builtins.set" && value.name !== "builtins.frozenset") return undefined;
  const [items = []] = value.args;
  return Array.isArray(items) ? items : undefined;
}

/** Text, also as a byte string of Python 2; `undefined` for anything else. */
export function textIn(value: Pickled | undefined): string | undefined {
  if (typeof value === "string") return value;
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined;
}

/** A number; `undefined` for anything else, and for one that is none or has no end. */
export function numberIn(value: Pickled | undefined): number | undefined {
  const number = typeof value === "bigint" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}
