import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { figure } from "../benchmark/report.ts";
import { median, quantile } from "../benchmark/statistics.ts";
import {
  GROWTH_MB_PER_HOUR_MAX,
  interceptOf,
  JUDGED_MINUTES_MIN,
  judgeGrowth,
  lowest,
  type Point,
  type Verdict,
  WINDOW_MINUTES,
} from "./growth.ts";
import { type Band, type Plot, type Series, svgOf } from "./plot.ts";
import type { Sample } from "./sampler.ts";

/** What one part of a run found, in words. */
export interface Finding {
  readonly name: string;
  readonly text: string;
  /** Whether it is as it must be. */
  readonly isGood: boolean;
}

/** All that a run has to tell. */
export interface Run {
  readonly command: string;
  readonly facts: Readonly<Record<string, string>>;
  readonly setting: Readonly<Record<string, string | number>>;
  readonly warmUpSeconds: number;
  readonly samples: readonly Sample[];
  readonly bands: readonly Band[];
  readonly findings: readonly Finding[];
  readonly counts: Readonly<Record<string, number>>;
  readonly isOver: boolean;
}

type Measure = {
  [Name in keyof Sample]: Sample[Name] extends number | null ? Name : never;
}[keyof Sample];

/** Writes `report.md`, its pictures and `samples.json`. Gives what is said of the memory. */
export function writeReport(directory: string, run: Run): Verdict {
  mkdirSync(directory, { recursive: true });
  const verdict = judgeGrowth(pointsOf(run.samples, "residentMb"), run.warmUpSeconds);
  const plots = plotsOf(run, verdict);
  for (const [name, plot] of Object.entries(plots)) {
    writeFileSync(join(directory, `${name}.svg`), svgOf(plot));
  }
  writeFileSync(join(directory, "samples.json"), `${JSON.stringify(run, null, 1)}\n`);
  writeFileSync(join(directory, "report.md"), textOf(run, verdict, Object.entries(plots)));
  return verdict;
}

function pointsOf(samples: readonly Sample[], measure: Measure): readonly Point[] {
  return samples.map((sample) => ({
    seconds: sample.seconds,
    value: sample[measure] ?? Number.NaN,
  }));
}

function plotsOf(run: Run, verdict: Verdict): Readonly<Record<string, Plot>> {
  const { samples, warmUpSeconds } = run;
  const seconds = samples.at(-1)?.seconds ?? 0;
  const warmUp = { name: "warm-up", from: 0, to: Math.min(warmUpSeconds, seconds) };
  const bands = [warmUp, ...run.bands];
  const line = (name: string, measure: Measure): Series => ({
    name,
    points: pointsOf(samples, measure),
  });
  const plot = (title: string, unit: string, ...series: readonly Series[]): Plot => ({
    ...{ title, unit, series, bands, seconds },
  });
  return {
    memory: plot(
      "Memory",
      "MB",
      line("resident", "residentMb"),
      ...trendOf(run, verdict, seconds),
      line("anonymous", "anonymousMb"),
    ),
    latency: {
      ...plot(
        "From the final dot to the 250",
        "ms, logarithmic",
        line("p50", "p50Ms"),
        line("p99", "p99Ms"),
        line("worst", "worstMs"),
      ),
      logarithmic: true,
    },
    rates: plot(
      "Throughput",
      "in a second",
      line("messages stored", "acceptedRate"),
      line("recipients relayed", "sentRate"),
      line("recipients put off", "deferredRate"),
      line("recipients bounced", "bouncedRate"),
    ),
    queue: plot(
      "Queue, beyond the backlog that stays",
      "messages",
      ...beyond(run, ["stored", "queued"], ["of these deferred", "deferred"]),
    ),
    deliveries: plot(
      "Under way",
      "at once",
      line("deliveries", "delivering"),
      line("connections to next hops", "connections"),
      line("open descriptors", "descriptors"),
    ),
    cpu: plot("CPU", "percent of one core", line("all threads", "cpuPercent")),
    disk: plot("State on disk", "MB", line("queue.db", "stateMb"), line("its log (WAL)", "walMb")),
  };
}

function beyond(
  { samples, setting }: Run,
  ...lines: readonly (readonly [string, Measure])[]
): readonly Series[] {
  const backlog = Number(setting.backlog);
  return lines.map(([name, measure]) => ({
    name,
    points: pointsOf(samples, measure).map(({ seconds, value }) => ({
      seconds,
      value: Math.max(0, value - backlog),
    })),
  }));
}

/** The values that are judged, and the line through them. */
function trendOf(run: Run, { perHour, isFlat }: Verdict, seconds: number): readonly Series[] {
  const least = lowest(pointsOf(run.samples, "residentMb"));
  const judged = least.filter((point) => point.seconds >= run.warmUpSeconds);
  const dots: Series = {
    name: `lowest of each ${WINDOW_MINUTES} minutes`,
    points: least,
    style: "dots",
  };
  if (isFlat === undefined) return [dots];
  const start = interceptOf(judged, perHour);
  const at = (instant: number) => ({ seconds: instant, value: start + (perHour / 3600) * instant });
  const points = [at(run.warmUpSeconds), at(seconds)];
  return [dots, { name: `trend ${signed(perHour)} MB/h`, points, style: "dashes" }];
}

function textOf(run: Run, verdict: Verdict, plots: readonly (readonly [string, Plot])[]): string {
  return [
    "# Endurance of slimta-queue",
    "",
    ...(run.isOver ? [] : ["**The run is still under way, or ended before its time.**", ""]),
    `- ${verdictText(verdict, run)}`,
    ...run.findings.map(
      ({ name, text, isGood }) => `- ${isGood ? "ok" : "**NOT OK**"}: ${name}: ${text}`,
    ),
    "",
    "## Figures",
    "",
    ...table(run),
    "",
    ...plots.flatMap(([name, { title }]) => [`![${title}](${name}.svg)`, ""]),
    "## Setting",
    "",
    `    ${run.command}`,
    "",
    ...Object.entries({ ...run.facts, ...run.setting }).map(
      ([name, value]) => `- ${name}: ${value}`,
    ),
    "",
    "Counted over the whole run:",
    "",
    ...Object.entries(run.counts).map(
      ([name, value]) => `- ${name}: ${value.toLocaleString("en")}`,
    ),
    "",
  ].join("\n");
}

/** What is said of the memory, in one line. */
export function verdictText({ perHour, minutes, isFlat }: Verdict, { warmUpSeconds }: Run): string {
  const limit = `at most ${GROWTH_MB_PER_HOUR_MAX} MB an hour are noise`;
  const judged = `${minutes} minutes after ${Math.round(warmUpSeconds / 60)} of warm-up`;
  const trend = `resident memory, lowest of each ${WINDOW_MINUTES} minutes, ${judged}: ${signed(perHour)} MB an hour (${limit})`;
  if (isFlat === undefined) {
    return `too short to tell whether memory grows (${JUDGED_MINUTES_MIN} minutes after the warm-up are needed); ${trend}`;
  }
  return isFlat ? `ok: memory does not grow: ${trend}` : `**NOT OK**: memory grows: ${trend}`;
}

const ROWS: readonly (readonly [string, Measure])[] = [
  ["resident MB", "residentMb"],
  ["anonymous MB", "anonymousMb"],
  ["CPU, percent of a core", "cpuPercent"],
  ["final dot to 250, p50 ms", "p50Ms"],
  ["final dot to 250, p99 ms", "p99Ms"],
  ["messages stored in a second", "acceptedRate"],
  ["recipients relayed in a second", "sentRate"],
  ["recipients put off in a second", "deferredRate"],
  ["messages in the queue", "queued"],
  ["open descriptors", "descriptors"],
  ["queue.db's log, MB", "walMb"],
];

/** Of all samples after the warm-up. */
function table({ samples, warmUpSeconds }: Run): readonly string[] {
  const judged = samples.filter(({ seconds }) => seconds >= warmUpSeconds);
  const rows = ROWS.map(([title, measure]) => {
    const values = pointsOf(judged, measure)
      .map(({ value }) => value)
      .filter(Number.isFinite);
    if (values.length === 0) return `| ${title} | | | | |`;
    const cells = [
      quantile(values, 0),
      median(values),
      quantile(values, 0.95),
      quantile(values, 1),
    ];
    return `| ${title} | ${cells.map(figure).join(" | ")} |`;
  });
  return [
    "Each row is over samples, those of the warm-up left out.",
    "",
    "| measure | least | median | 95 % | most |",
    "|---|---:|---:|---:|---:|",
    ...rows,
  ];
}

function signed(value: number): string {
  return `${value >= 0 ? "+" : ""}${value.toFixed(1)}`;
}
