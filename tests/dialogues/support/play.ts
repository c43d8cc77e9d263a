import type { Heard, Line } from "./line.ts";
import type { Script, Step } from "./script.ts";

/** How a dialogue is played. */
export interface PlayOptions {
  /** The most that is sent at once. */
  readonly packetBytesMax: number;
  /** Only the first digit of replies is compared, and Postfix's known differences count. */
  readonly asPostfix: boolean;
}

export const AS_WRITTEN: PlayOptions = {
  packetBytesMax: Number.MAX_SAFE_INTEGER,
  asPostfix: false,
};

type Spoken = Extract<Step, { kind: "expect" | "closed" }>;

/**
 * Plays a dialogue to its end, where the server must have nothing more to say. Throws when it says anything else than
 * expected, with the dialogue so far.
 */
export async function play(script: Script, line: Line, options = AS_WRITTEN): Promise<void> {
  const said: string[] = [];
  let packet: Uint8Array[] = [];

  async function flush(): Promise<void> {
    const bytes = Buffer.concat(packet);
    packet = [];
    for (let at = 0; at < bytes.length; at += options.packetBytesMax) {
      await line.send(new Uint8Array(bytes.subarray(at, at + options.packetBytesMax)));
    }
  }

  async function expectHeard(at: number, expected: readonly string[], agrees: Agrees) {
    const heard = await line.hear().catch((cause: Error): Heard => [`(${cause.message})`]);
    const shown = heard === "closed" ? ["S: <closed>"] : heard.map((each) => `S: ${each}`);
    if (agrees(heard)) said.push(...shown);
    else throw new Error(difference(at, said, expected, shown));
  }

  async function take(step: Step): Promise<void> {
    if (step.kind === "send") {
      packet.push(step.bytes);
      said.push(step.text);
      return;
    }
    await flush();
    if (step.kind === "expect" || step.kind === "closed") {
      await expectHeard(step.at, expectedLines(step, options), (heard) =>
        options.asPostfix ? isOfClass(step, heard) : isExpected(step, heard),
      );
      return;
    }
    said.push(`-- ${step.kind}`);
    if (step.kind === "tls") await line.startTls();
    if (step.kind === "end") line.end();
  }

  try {
    for (const step of script.steps) await take(step);
    await flush();
    line.end();
    const last = script.steps.at(-1)?.at ?? 0;
    await expectHeard(last, ["S: <closed>"], (heard) => heard === "closed");
  } finally {
    line.drop();
  }
}

type Agrees = (heard: Heard) => boolean;

/** Whether a reply is what a dialogue says. A code alone stands for every reply with that code. */
export function isExpected(step: Spoken, heard: Heard): boolean {
  if (step.kind === "closed" || heard === "closed") return step.kind === heard;
  const [first = ""] = step.lines;
  if (step.lines.length === 1 && !first.includes(" ")) {
    return matches(first, heard[0]?.slice(0, 3) ?? "");
  }
  return linesMatch(step.lines, heard);
}

function isOfClass(step: Spoken, heard: Heard): boolean {
  const expected = step.postfix ?? (step.kind === "closed" ? "<closed>" : (step.lines[0] ?? ""));
  if (heard === "closed") return expected === "<closed>";
  return heard[0]?.[0] === expected[0];
}

function linesMatch(patterns: readonly string[], lines: readonly string[]): boolean {
  const [pattern, ...patternsLeft] = patterns;
  if (pattern === undefined) return lines.length === 0;
  if (pattern !== "...") {
    const [line, ...linesLeft] = lines;
    return line !== undefined && matches(pattern, line) && linesMatch(patternsLeft, linesLeft);
  }
  return lines.some((_, skipped) => linesMatch(patternsLeft, lines.slice(skipped)));
}

/** `*` stands for any text and `?` for any one character. */
function matches(pattern: string, text: string): boolean {
  const source = pattern.replace(/[\\^$.|+()[\]{}]/gu, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${source.replaceAll("?", ".")}$`, "u").test(text);
}

function expectedLines(step: Spoken, { asPostfix }: PlayOptions): readonly string[] {
  if (asPostfix && step.postfix !== undefined) return [`S: ${step.postfix}`];
  return step.kind === "closed" ? ["S: <closed>"] : step.lines.map((line) => `S: ${line}`);
}

function difference(
  at: number,
  said: readonly string[],
  expected: readonly string[],
  heard: readonly string[],
): string {
  const before = said.map((line) => `  ${line.length > 200 ? `${line.slice(0, 200)}...` : line}`);
  const lines = [
    ...before,
    ...expected.map((line) => `- ${line}`),
    ...heard.map((line) => `+ ${line}`),
  ];
  return `line ${at}: - expected, + said by the server\n${lines.join("\n")}`;
}
