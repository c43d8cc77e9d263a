/** One series of a counter or gauge. Whoever counts keeps the cell and changes its value: nothing is cheaper. */
export interface Cell {
  value: number;
}

export interface HistogramCell {
  observe(value: number): void;
}

export type Labels = Readonly<Record<string, string>>;

/** How many series one metric may have: a guard against labels that grow without end. */
export const SERIES_MAX = 1000;

export interface Registry {
  /** A count that only rises. Its name ends in `_total`. */
  counter(name: string, help: string): Family;
  gauge(name: string, help: string): Family;
  /** Upper bounds in rising order; `+Inf` is added. */
  histogram(name: string, help: string, bounds: readonly number[]): HistogramFamily;
  /** Everything in the text format of Prometheus, version 0.0.4. */
  render(): string;
}

export interface Family {
  /** The series with these labels, made on first use. Past `SERIES_MAX` all share one that is not shown. */
  cell(labels?: Labels): Cell;
  /** Forgets a series. */
  drop(labels: Labels): void;
}

export interface HistogramFamily {
  cell(labels?: Labels): HistogramCell;
}

/** What `Content-Type` the rendered text has. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

const NAME = /^[a-z][a-z0-9_]*$/u;

/** A set of metrics. Names are given once; a name that is no good or given twice is our own bug and throws. */
export function openRegistry(): Registry {
  const renders: (() => string)[] = [];
  const names = new Set<string>();

  const declare = (name: string, type: string, help: string, body: () => string) => {
    if (!NAME.test(name) || names.has(name)) throw new Error(`bad metric name: ${name}`);
    names.add(name);
    const head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
    renders.push(() => {
      const series = body();
      return series === "" ? "" : head + series;
    });
  };

  const numbers = (name: string, type: string, help: string): Family => {
    const cells = seriesMap<Cell>(() => ({ value: 0 }));
    declare(name, type, help, () => cells.render((key, cell) => sample(name, key, cell.value)));
    return { cell: cells.get, drop: cells.drop };
  };

  return {
    counter: (name, help) => numbers(name, "counter", help),
    gauge: (name, help) => numbers(name, "gauge", help),
    histogram(name, help, bounds) {
      const cells = seriesMap(() => histogramCell(bounds));
      declare(name, "histogram", help, () =>
        cells.render((key, cell) => cell.render(name, key, bounds)),
      );
      return { cell: cells.get };
    },
    render: () => renders.map((render) => render()).join(""),
  };
}

function seriesMap<T>(make: () => T) {
  const cells = new Map<string, T>();
  const beyond = make();
  return {
    get(labels: Labels = {}): T {
      const key = labelText(labels);
      const known = cells.get(key);
      if (known !== undefined) return known;
      if (cells.size >= SERIES_MAX) return beyond;
      const made = make();
      cells.set(key, made);
      return made;
    },
    drop: (labels: Labels) => void cells.delete(labelText(labels)),
    render(one: (key: string, cell: T) => string): string {
      let text = "";
      for (const [key, cell] of cells) text += one(key, cell);
      return text;
    },
  };
}

function histogramCell(bounds: readonly number[]) {
  const counts = new Float64Array(bounds.length + 1);
  let sum = 0;
  return {
    observe(value: number) {
      if (Number.isNaN(value)) return;
      let index = 0;
      while (index < bounds.length && value > (bounds[index] ?? 0)) index += 1;
      counts[index] = (counts[index] ?? 0) + 1;
      sum += value;
    },
    render(name: string, key: string, limits: readonly number[]): string {
      let text = "";
      let total = 0;
      for (let index = 0; index <= limits.length; index += 1) {
        total += counts[index] ?? 0;
        const bound = `le="${limits[index] ?? "+Inf"}"`;
        text += sample(`${name}_bucket`, key === "" ? bound : `${key},${bound}`, total);
      }
      return `${text}${sample(`${name}_sum`, key, sum)}${sample(`${name}_count`, key, total)}`;
    },
  };
}

function sample(name: string, key: string, value: number): string {
  return `${name}${key === "" ? "" : `{${key}}`} ${numberText(value)}\n`;
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "+Inf" : "-Inf";
}

function labelText(labels: Labels): string {
  let text = "";
  for (const name in labels) {
    text += `${text === "" ? "" : ","}${name}="${escapeLabel(labels[name] ?? "")}"`;
  }
  return text;
}

function escapeLabel(value: string): string {
  return value.toWellFormed().replace(/[\\"\n]/gu, (char) => (char === "\n" ? "\\n" : `\\${char}`));
}

function escapeHelp(help: string): string {
  return help.replace(/[\\\n]/gu, (char) => (char === "\n" ? "\\n" : "\\\\"));
}
