import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import { CliError } from "./cli-error.ts";

const ID = /^[0-9A-Za-z]{1,64}$/u;
const LINE_LENGTH_MAX = 1000;

/** The ids that were named; `-` stands for those on stdin, one or more a line, of which `mailq`'s marks are taken off. */
export async function* idsFrom(
  words: readonly string[],
  stdin: AsyncIterable<Uint8Array>,
): AsyncGenerator<string> {
  for (const word of words) {
    if (word === "-") yield* idsOfStream(stdin);
    else yield idOf(word);
  }
}

async function* idsOfStream(stdin: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stdin) {
    const words = (rest + decoder.decode(chunk, { stream: true })).split(/\s/u);
    rest = words.pop() ?? "";
    if (rest.length > LINE_LENGTH_MAX)
      throw new CliError("stdin holds no ids", { code: exit.data });
    yield* words.filter((word) => word !== "").map(idOf);
  }
  if (rest !== "") yield idOf(rest);
}

function idOf(word: string): string {
  const id = word.replace(/[*!#]$/u, "");
  if (ID.test(id)) return id.toUpperCase();
  throw new CliError(`not a message id: ${terminalJson(word.slice(0, 100))}`, {
    code: exit.data,
  });
}
