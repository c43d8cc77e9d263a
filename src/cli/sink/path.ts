/** A path with its parameters, from the argument of MAIL or RCPT. */
export interface PathArgument {
  readonly address: string;
  /** Upper case names, values as given. */
  readonly parameters: ReadonlyMap<string, string>;
}

const ADDRESS_LENGTH_MAX = 512;
const KNOWN: Readonly<Record<"FROM" | "TO", ReadonlySet<string>>> = {
  FROM: new Set(["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"]),
  TO: new Set(["NOTIFY", "ORCPT"]),
};

/** Why an argument is refused: its syntax, or a parameter that was not offered. */
export type PathFault = "syntax" | "parameter";

/** Reads `FROM:<a@b> SIZE=1` or `TO:<a@b> NOTIFY=NEVER` (RFC 5321 §4.1.1.2, §4.1.1.3). */
export function readPath(word: "FROM" | "TO", argument: string): PathArgument | PathFault {
  const [, name = "", path, tail = ""] =
    /^(\w+): ?<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>((?: +\S+)*) *$/u.exec(argument) ?? [];
  if (path === undefined || name.toUpperCase() !== word) return "syntax";
  if (path.length > ADDRESS_LENGTH_MAX) return "syntax";
  // A source route is ignored (RFC 5321 appendix C).
  const address = path.replace(/^@[^:]*:/u, "");
  if (address === "" && word === "TO") return "syntax";
  const parameters = new Map(tail.split(/ +/u).filter(Boolean).map(readParameter));
  const known = [...parameters.keys()].every((key) => KNOWN[word].has(key));
  return known ? { address, parameters } : "parameter";
}

function readParameter(text: string): [string, string] {
  const [key = "", ...value] = text.split("=");
  return [key.toUpperCase(), value.join("=")];
}
