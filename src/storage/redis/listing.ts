import { stateOf } from "../message-row.ts";
import type { ListQuery } from "../storage.ts";
import { ROW_FIELDS, readRow, type SeenRow } from "./rows.ts";
import type { Steps } from "./steps.ts";

/** Rows that the server reads in one go. */
const PAGE = 500;

/**
 * Rows in the order of ids, page by page, those that the query names; the id alone stands for one that cannot be read. There
 * is an index for states and one for domains; what else is asked for is looked for among what they give.
 */
export async function* listPages(
  steps: Steps,
  query: Partial<ListQuery>,
): AsyncGenerator<readonly (SeenRow | string)[]> {
  const { state, domain = "", sender, limit = PAGE } = query;
  // With a filter that has no index most of a page may be of no use.
  const isFiltered = sender !== undefined || (state !== undefined && domain !== "");
  const count = isFiltered ? PAGE : Math.min(limit, PAGE);
  let after = query.after ?? "";
  while (true) {
    const args = [after, count, state ?? "", domain.toLowerCase(), ...ROW_FIELDS];
    const answer = (await steps.run("cannot list", "list", args)) as Listed[];
    yield rowsOf(answer).filter((row) => typeof row === "string" || agrees(row, query));
    if (answer.length < 2 * count) return;
    after = String(answer.at(-2));
  }
}

/** An id, or the fields of its row behind it. */
type Listed = string | readonly (string | null)[];

function rowsOf(answer: readonly Listed[]): readonly (SeenRow | string)[] {
  const rows: (SeenRow | string)[] = [];
  for (let index = 0; index < answer.length; index += 2) {
    const id = String(answer[index]);
    const row = readRow(id, answer[index + 1] as readonly (string | null)[]);
    // Gone between the index and the row: no script leaves such a thing.
    rows.push(row ?? id);
  }
  return rows;
}

function agrees(row: SeenRow, { state, sender }: Partial<ListQuery>): boolean {
  return (
    (state === undefined || stateOf(row) === state) &&
    (sender === undefined || row.sender.toLowerCase() === sender.toLowerCase())
  );
}
