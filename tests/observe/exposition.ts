/** One series of a scrape. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metric {
  readonly type: string;
  readonly samples: readonly Sample[];
}

const TYPES = new Set(["counter", "gauge", "histogram"]);

/**
 * Reads the text format of Prometheus (0.0.4) and throws at whatever a strict reader objects to: a family without HELP and
 * TYPE before it or in two pieces, a bad name, escape or number, a series twice, a histogram that is not one.
 */
export function parseExposition(text: string): ReadonlyMap<string, Metric> {
  if (!text.endsWith("\n")) throw new Error("the last line is not ended");
  const metrics = new Map<string, { type: string; samples: Sample[] }>();
  const lines = text.slice(0, -1).split("\n");
  for (let at = 0; at < lines.length; ) {
    const [, name = ""] = /^# HELP ([a-z_][a-z0-9_]*) \S.*$/u.exec(lines[at] ?? "") ?? [];
    const [, typed, type = ""] = /^# TYPE (\S+) (\S+)$/u.exec(lines[at + 1] ?? "") ?? [];
    if (name === "" || typed !== name || !TYPES.has(type))
      throw new Error(`bad head: ${lines[at]}`);
    if (metrics.has(name)) throw new Error(`${name} comes twice`);
    if ((type === "counter") !== name.endsWith("_total")) throw new Error(`${name} is no ${type}`);
    const samples: Sample[] = [];
    for (at += 2; at < lines.length && !lines[at]?.startsWith("#"); at += 1) {
      samples.push(parseSample(lines[at] ?? "", name, type));
    }
    if (samples.length === 0) throw new Error(`${name} has no series`);
    const keys = samples.map(({ name: one, labels }) => one + JSON.stringify(labels));
    if (new Set(keys).size !== keys.length) throw new Error(`${name} has a series twice`);
    if (type === "histogram") checkHistogram(name, samples);
    metrics.set(name, { type, samples });
  }
  return metrics;
}

function parseSample(line: string, family: string, type: string): Sample {
  const match =
    /^([a-z_][a-z0-9_]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[+-]Inf|NaN)$/u.exec(line);
  if (match === null) throw new Error(`bad line: ${line}`);
  const [, name = "", inside = "", number = ""] = match;
  const names =
    type === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => family + end) : [family];
  if (!names.includes(name)) throw new Error(`${name} is no part of ${family}`);
  const value = Number(number.replace("Inf", "Infinity"));
  if (type === "counter" && !(value >= 0)) throw new Error(`a counter of ${number}`);
  return { name, labels: parseLabels(inside), value };
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const match = /^([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,(?=.)|$)/u.exec(rest);
    if (match === null) throw new Error(`bad labels: ${text}`);
    const [all, name = "", value = ""] = match;
    if (name in labels) throw new Error(`label ${name} comes twice`);
    labels[name] = value.replace(/\\(.)/gu, (_, char) => (char === "n" ? "\n" : char));
    rest = rest.slice(all.length);
  }
  return labels;
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...labels } }) => JSON.stringify(labels));
  for (const [key, group] of groups) {
    const buckets = group.filter((one) => one.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => Number(labels.le?.replace("Inf", "Infinity")));
    const counts = buckets.map(({ value }) => value);
    const count = group.find((one) => one.name === `${name}_count`)?.value;
    const rising = (values: readonly number[]) =>
      values.every((one, at) => at === 0 || one >= (values[at - 1] ?? 0));
    const whole = group.some((one) => one.name === `${name}_sum`) && count === counts.at(-1);
    if (
      !whole ||
      bounds.at(-1) !== Number.POSITIVE_INFINITY ||
      !rising(bounds) ||
      !rising(counts)
    ) {
      throw new Error(`${name} ${key} is no histogram`);
    }
  }
}
