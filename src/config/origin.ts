import { printable } from "../mail/reply.ts";

/** Where a value came from, weakest first: each kind overrides those before it. */
export interface Origin {
  readonly kind: "default" | "file" | "credential" | "environment" | "flag";
  /** The file, the variable or the flag; of a default, what it follows from. */
  readonly name: string;
}

/** A value as it was found, not read yet. */
export interface Found {
  readonly path: string;
  readonly raw: unknown;
  readonly origin: Origin;
}

/** One thing that is wrong with the configuration. */
export interface Issue {
  /** The setting, such as `smtp.listen`; of an entry of a list, `smtp.listen[1]`. Empty: the configuration as a whole. */
  readonly path: string;
  /** What is wrong, in words that need nothing else. Holds no secret. */
  readonly message: string;
  /** What was found, as JSON would have it and without secrets; absent when it is not about one value. */
  readonly found?: string;
  readonly expected?: string;
  readonly origin: Origin;
}

/** What one layer gives. */
export interface Layer {
  readonly found: readonly Found[];
  readonly issues: readonly Issue[];
}

/** `from /etc/slimta-queue/config.toml`, `from $RELAYHOST`, `from --relay`, `default`. */
export function formatOrigin({ kind, name }: Origin): string {
  if (kind === "default") return name === "" ? "default" : `default, ${name}`;
  return kind === "environment" ? `$${name}` : name;
}

/** A key of a file may be anything, and as long. */
const PATH_LENGTH_MAX = 200;
const MESSAGE_LENGTH_MAX = 1000;

/** One line for any terminal: where, what, and where it came from. */
export function formatIssue({ path, message, origin }: Issue): string {
  const subject = path === "" ? "" : `${printable(path, PATH_LENGTH_MAX)}: `;
  const from = printable(formatOrigin(origin), PATH_LENGTH_MAX);
  return `${subject}${printable(message, MESSAGE_LENGTH_MAX)} (${from})`;
}
