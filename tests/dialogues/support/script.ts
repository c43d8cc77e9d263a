/** What a `.smtp` file says; tests/dialogues/README.md describes the format. */
export interface Script {
  /** `smtp.recipients_max=2`, for the configuration of the server. */
  readonly settings: readonly string[];
  /** What the queue behind the edge answers in place of `250`: a reply, or that it takes nothing at all. */
  readonly door: { readonly refuses?: string; readonly answers?: string };
  /** Why this dialogue is not played against Postfix. */
  readonly notPostfix: string | undefined;
  readonly steps: readonly Step[];
  readonly queued: readonly QueuedMessage[];
}

/** One line of a dialogue, with the number it has in its file. */
export type Step =
  | {
      readonly kind: "send";
      readonly at: number;
      readonly text: string;
      readonly bytes: Uint8Array;
    }
  | {
      readonly kind: "expect";
      readonly at: number;
      /** Patterns for the lines of one reply; `...` stands for any number of lines. */
      readonly lines: readonly string[];
      /** The code that Postfix gives where it differs from us, with the reason. */
      readonly postfix?: string;
    }
  | { readonly kind: "closed"; readonly at: number; readonly postfix?: string }
  | { readonly kind: "split" | "tls" | "end"; readonly at: number };

/** One message that must have been handed to the queue. */
export interface QueuedMessage {
  readonly at: number;
  /** `MAIL FROM:<a@example.com> RCPT TO:<b@example.net>`, parameters included. */
  readonly envelope: string;
  /** The content octet by octet; `undefined` when the dialogue does not say. */
  readonly content: Uint8Array | undefined;
}

interface Draft {
  settings: string[];
  door: { refuses?: string; answers?: string };
  notPostfix: string | undefined;
  steps: Step[];
  queued: { at: number; envelope: string; content: Uint8Array | undefined }[];
  /** The lines so far of a reply that goes on. */
  open: { at: number; lines: string[] } | undefined;
}

type Reader = (draft: Draft, rest: string, at: number) => void;

const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|\{(\d+)\*((?:[^}\\]|\\.)*)\}|(.))/gsu;
const SINGLE: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", 0: "\0", "\\": "\\" };
const encoder = new TextEncoder();

const READERS: readonly (readonly [prefix: string, read: Reader])[] = [
  ["% set ", (draft, rest) => void draft.settings.push(rest)],
  ["% postfix skip: ", (draft, notPostfix) => Object.assign(draft, { notPostfix })],
  ["% queue refuses: ", (draft, refuses) => Object.assign(draft.door, { refuses })],
  ["% queue answers: ", (draft, answers) => Object.assign(draft.door, { answers })],
  ["C: ", (draft, rest, at) => send(draft, at, `C: ${rest}`, encoder.encode(`${rest}\r\n`))],
  ["C~: ", (draft, rest, at) => send(draft, at, `C~: ${rest}`, unescaped(rest))],
  ["S: ", expectLine],
  ["P: ", postfixDiffers],
  ["-- split", (draft, _, at) => void draft.steps.push({ kind: "split", at })],
  ["-- tls", (draft, _, at) => void draft.steps.push({ kind: "tls", at })],
  ["-- end", (draft, _, at) => void draft.steps.push({ kind: "end", at })],
  ["Q: ", (draft, rest, at) => draft.queued.push({ at, envelope: rest, content: undefined })],
  ["D: ", (draft, rest) => addContent(draft, encoder.encode(`${rest}\r\n`))],
  ["D~: ", (draft, rest) => addContent(draft, unescaped(rest))],
];

/** Reads a dialogue. Throws an error that names the line of anything that is not understood. */
export function parseScript(text: string): Script {
  const draft: Draft = {
    settings: [],
    door: {},
    notPostfix: undefined,
    steps: [],
    queued: [],
    open: undefined,
  };
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    // A line without text, such as an empty line of data, needs no space at its end.
    const padded = /^[CD]~?:$/u.test(line) ? `${line} ` : line;
    const [prefix, read] = READERS.find(([start]) => padded.startsWith(start)) ?? [];
    try {
      if (prefix === undefined || read === undefined) throw new Error(`not understood: ${line}`);
      if (draft.open !== undefined && prefix !== "S: ") throw new Error("the reply has no end");
      read(draft, padded.slice(prefix.length), index + 1);
    } catch (cause) {
      throw new Error(`line ${index + 1}: ${(cause as Error).message}`, { cause });
    }
  }
  if (draft.open !== undefined) throw new Error(`line ${draft.open.at}: the reply has no end`);
  if (draft.steps.length === 0) throw new Error("line 1: nobody says anything");
  const { open: _, ...script } = draft;
  return script;
}

/** Octets of a text with the escapes `\r \n \t \0 \\ \xNN` and `\{3*text}`; other characters are UTF-8. */
export function unescaped(text: string): Uint8Array {
  const pieces: Uint8Array[] = [];
  let end = 0;
  for (const match of text.matchAll(ESCAPE)) {
    const [whole, hex, count, repeated = "", single = ""] = match;
    pieces.push(encoder.encode(text.slice(end, match.index)));
    end = match.index + whole.length;
    if (hex !== undefined) pieces.push(Uint8Array.of(Number.parseInt(hex, 16)));
    else if (count !== undefined) {
      const once = unescaped(repeated);
      for (let left = Number(count); left > 0; left -= 1) pieces.push(once);
    } else if (single in SINGLE) pieces.push(encoder.encode(SINGLE[single]));
    else throw new Error(`unknown escape \\${single}`);
  }
  pieces.push(encoder.encode(text.slice(end)));
  return new Uint8Array(Buffer.concat(pieces));
}

function send(draft: Draft, at: number, text: string, bytes: Uint8Array): void {
  draft.steps.push({ kind: "send", at, text, bytes });
}

function expectLine(draft: Draft, rest: string, at: number): void {
  if (rest === "<closed>") {
    if (draft.open !== undefined) throw new Error("the reply has no end");
    draft.steps.push({ kind: "closed", at });
    return;
  }
  const open = draft.open ?? { at, lines: [] };
  open.lines.push(rest);
  draft.open = open;
  if (rest === "..." || /^\d{3}-/u.test(rest)) return;
  draft.open = undefined;
  draft.steps.push({ kind: "expect", ...open });
}

function postfixDiffers(draft: Draft, rest: string): void {
  const step = draft.steps.pop();
  if (step?.kind !== "expect" && step?.kind !== "closed") throw new Error("P: belongs behind S:");
  if (!/^(?:\d{3}|<closed>) \S/u.test(rest)) throw new Error("P: needs a code and a reason");
  draft.steps.push({ ...step, postfix: rest.split(" ", 1)[0] ?? "" });
}

function addContent(draft: Draft, bytes: Uint8Array): void {
  const message = draft.queued.at(-1);
  if (message === undefined) throw new Error("D: belongs behind Q:");
  message.content = new Uint8Array(Buffer.concat([message.content ?? new Uint8Array(0), bytes]));
}
