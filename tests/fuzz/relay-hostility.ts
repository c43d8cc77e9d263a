import type { Heard, Reaction } from "./relay-peer.ts";
import { below, bytesOf, type Mutate, pick } from "./support/mutate.ts";

/** What a proper peer says to each command. */
export function properReply({ kind, text }: Heard, extensions: readonly string[]): string {
  if (kind === "connection") return "220 peer.example ESMTP\r\n";
  if (kind === "message") return "250 2.0.0 Ok: queued as 12345\r\n";
  const verb = text.slice(0, 4).toUpperCase();
  if (verb === "EHLO") return lines(["peer.example", ...extensions]);
  if (verb === "DATA") return "354 go ahead\r\n";
  if (verb === "QUIT") return "221 2.0.0 Bye\r\n";
  if (verb === "STAR") return "220 2.0.0 Ready to start TLS\r\n";
  return "250 2.1.0 Ok\r\n";
}

function lines(texts: readonly string[]): string {
  return texts.map((text, at) => `250${at === texts.length - 1 ? " " : "-"}${text}\r\n`).join("");
}

const EXTENSIONS = [
  ...[
    "PIPELINING",
    "PIPELINING",
    "PIPELINING",
    "8BITMIME",
    "DSN",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "STARTTLS",
  ],
  ...[
    "SIZE",
    "SIZE 0",
    "SIZE 10",
    "SIZE 1000000",
    "SIZE -1",
    "SIZE abc",
    "SIZE 99999999999999999999",
    "SIZE 1e3",
    "SIZE=10",
  ],
  ...[
    "AUTH PLAIN",
    "AUTH=LOGIN",
    "AUTH",
    "",
    " ",
    "\0",
    "\x1b[2J",
    "\xff",
    "PIPELINING\0",
    "__proto__",
    "constructor 1",
  ],
  ...["x".repeat(5000), "STARTTLS extra", "pipelining", "CHUNKING"],
];

/** Extensions that a peer may announce, sensible ones and others. */
export function anyExtensions(random: () => number): readonly string[] {
  return Array.from({ length: below(random, 6) }, () => pick(random, EXTENSIONS));
}

const CODES = [
  ...[
    "200",
    "211",
    "250",
    "251",
    "334",
    "354",
    "421",
    "450",
    "451",
    "452",
    "500",
    "535",
    "550",
    "552",
    "554",
    "599",
  ],
  ...[
    "000",
    "099",
    "100",
    "199",
    "600",
    "999",
    "25",
    "2500",
    "abc",
    "25O",
    "-250",
    " 250",
    "2\x0050",
    "+250",
    "0x250",
  ],
];
const TEXTS = [
  ...[
    "",
    "Ok",
    "2.0.0 Ok",
    "5.7.1 Ok",
    "2.999.999 Ok",
    "2.1000.0 x",
    "9.9.9",
    "\0\x1b]0;x\x07",
    "\xff\xfe\x80",
    "\xe2\x80\xa8\xe2\x80\xae",
  ],
  ...[
    "x".repeat(2000),
    "550 5.1.1 hidden",
    "too many recipients",
    "\t\x0b\x0c",
    "%s%n",
    "<script>",
  ],
];
const LINE_ENDS = ["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r", "", "\r\n\r\n", "\0\r\n"];

/** Words that mean something to a reader of replies. */
export const REPLY_TOKENS = [
  ...CODES,
  ...LINE_ENDS,
  ...[
    "250-",
    "250 ",
    "354 go\r\n",
    "250 2.0.0 Ok\r\n",
    "421 4.3.2 bye\r\n",
    "-",
    " ",
    "\0",
    "\xff",
    "4.4.1",
    "STARTTLS",
  ],
];

/** Some other reply than the proper one, or what is none. */
function wrongReply(random: () => number, mutate: Mutate, proper: string): string {
  const code = () => pick(random, CODES);
  const line = (separator: string) =>
    `${code()}${separator}${pick(random, TEXTS)}${pick(random, LINE_ENDS)}`;
  return pick(random, [
    () => line(" "),
    () => line(" "),
    () => line(""),
    () => `${line("-")}${line(" ")}`,
    () => `${proper}${line(" ")}`,
    () => `${proper}${proper}`,
    () => `${line(" ")}${proper}`,
    () => "",
    () => proper.slice(0, below(random, proper.length)),
    () => proper.replace(/\r\n/gu, pick(random, LINE_ENDS)),
    () => `250-${"x".repeat(80)}\r\n`.repeat(pick(random, [3, 100, 900])) + proper,
    () => `250 ${"y".repeat(pick(random, [600, 65_530, 70_000]))}\r\n`,
    () => Buffer.from(mutate(bytesOf(proper))).toString("latin1"),
    () => "250 a\r\n250 b\r\n354 c\r\n250 d\r\n250 e\r\n",
    () => "HTTP/1.1 400 Bad Request\r\n\r\n",
    () => "\x15\x03\x01\x00\x02\x02\x28",
  ])();
}

const ENDS: readonly Reaction["next"][] = [
  "hang-up",
  "hang-up",
  "deaf",
  { endless: `250-${"x".repeat(8000)}\r\n` },
  { endless: "y".repeat(8000) },
  // One that always has something to say must not get more time than one that is silent.
  { endless: "z" },
  { endless: "250-\r\n" },
];

/** The proper thing or something else, in any pieces. */
export function anyReaction(
  random: () => number,
  mutate: Mutate,
  heard: Heard,
  extensions: readonly string[],
): Reaction {
  const proper = properReply(heard, extensions);
  // Whoever is wrong at every step never gets far.
  const text = random() < 0.15 ? wrongReply(random, mutate, proper) : proper;
  const ends = random() < 0.06;
  const next = ends ? pick(random, ENDS) : "go-on";
  return { pieces: inPieces(random, text), next };
}

/** A text cut at random, mostly not at all. */
export function inPieces(random: () => number, text: string): readonly string[] {
  if (random() < 0.6 || text === "") return [text];
  const cuts = Array.from({ length: 1 + below(random, 4) }, () => below(random, text.length + 1));
  const bounds = [0, ...cuts.toSorted((one, other) => one - other), text.length];
  return bounds.slice(1).map((end, index) => text.slice(bounds[index], end));
}
