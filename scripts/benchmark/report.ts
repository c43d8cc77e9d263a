import type { ContenderName } from "./contender.ts";
import { FLOORS, judge } from "./floors.ts";
import type { Measures } from "./measures.ts";
import { median } from "./statistics.ts";

/** All runs of one case, by contender, in order. */
export interface CaseRuns {
  readonly name: string;
  readonly title: string;
  readonly runs: Readonly<Partial<Record<ContenderName, readonly Measures[]>>>;
}

/** One figure of a case: medians over the runs, and what they are held against. */
export interface Row {
  readonly case: string;
  readonly title: string;
  readonly measure: string;
  readonly ours: number | undefined;
  readonly postfix: number | undefined;
  /** Ours over Postfix's. */
  readonly ratio: number | undefined;
  /** The lowest and the highest of our runs. */
  readonly range: readonly [number, number] | undefined;
  readonly floor: string | undefined;
  readonly reached: boolean | undefined;
}

/** Every measure of every case. */
export function rowsOf(cases: readonly CaseRuns[]): readonly Row[] {
  return cases.flatMap((each) => {
    const names = Object.values(each.runs).flatMap((runs) => runs.flatMap(Object.keys));
    return [...new Set(names)].map((measure) => rowOf(each, measure));
  });
}

function rowOf({ name, title, runs }: CaseRuns, measure: string): Row {
  const valuesOf = (who: ContenderName) =>
    (runs[who] ?? []).map((run) => run[measure]).filter((value) => value !== undefined);
  const middle = (values: readonly number[]) => (values.length === 0 ? undefined : median(values));
  const values = valuesOf("ours");
  const ours = middle(values);
  const postfix = middle(valuesOf("postfix"));
  const floor = FLOORS[`${name} ${measure}`];
  const judged = floor && ours !== undefined ? judge(floor, ours, postfix) : undefined;
  return {
    case: name,
    title,
    measure,
    ours,
    postfix,
    ratio: ours !== undefined && postfix ? ours / postfix : undefined,
    range: ours === undefined ? undefined : [Math.min(...values), Math.max(...values)],
    floor: judged?.text,
    reached: judged?.reached,
  };
}

/** The rows as a table for people. */
export function tableOf(rows: readonly Row[]): string {
  const head = ["case", "measure", "ours", "(range)", "Postfix", "ratio", "floor", ""];
  const lines = rows.map((row) => [
    row.title,
    row.measure,
    figure(row.ours),
    row.range ? `(${figure(row.range[0])} - ${figure(row.range[1])})` : "",
    figure(row.postfix),
    row.ratio === undefined ? "" : `${figure(row.ratio)} x`,
    row.floor ?? "",
    row.reached === undefined ? "" : verdict(row.reached),
  ]);
  const widths = head.map((_, column) =>
    Math.max(...[head, ...lines].map((cells) => cells[column]?.length ?? 0)),
  );
  const isText = (column: number) => column < 2 || column === 7;
  return [head, ...lines]
    .map((cells) =>
      cells
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return isText(column) ? cell.padEnd(width) : cell.padStart(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function verdict(reached: boolean): string {
  return reached ? "ok" : "MISSED";
}

/** Three digits that count. */
export function figure(value: number | undefined): string {
  if (value === undefined) return "";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3);
}
