import type { Point } from "./growth.ts";

/** One line of a plot; a gap where there is nothing to show is a value that is not finite. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** Drawn as dots, or as a broken line, instead. */
  readonly style?: "dots" | "dashes";
}

/** A stretch of time that stands out. */
export interface Band {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

export interface Plot {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly Series[];
  /** The first of them is another one than the rest. */
  readonly bands: readonly Band[];
  /** Where the time axis ends, in seconds. */
  readonly seconds: number;
  /** Decades instead of equal steps, for values that differ by orders of magnitude. */
  readonly logarithmic?: boolean;
}

const WIDTH = 960;
const HEIGHT = 320;
const LEFT = 70;
const RIGHT = 20;
const TOP = 62;
const BOTTOM = 46;
const COLOURS = ["#1f5fa8", "#c4501b", "#2f7d32", "#7b3fa0", "#6b6b6b"];
const BAND_COLOURS = ["#f3efe2", "#e4edf6"];
const TICKS = 6;

interface Scale {
  readonly x: (seconds: number) => number;
  readonly y: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Draws a plot over time as a picture that stands for itself. */
export function svgOf(plot: Plot): string {
  const scale = scaleOf(plot);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${LEFT}" y="20" font-size="15" font-weight="bold">${escaped(plot.title)}</text>`,
    ...plot.bands.map((band, index) => bandOf(band, index, scale)),
    ...plot.bands.map((band, index) => bandNameOf(band, index, scale)),
    ...scale.ticks.map((value) => rowOf(value, scale)),
    ...minutesOf(plot.seconds, scale),
    `<text x="${LEFT}" y="${TOP - 8}" fill="#555">${escaped(plot.unit)}</text>`,
    `<text x="${WIDTH - RIGHT}" y="${HEIGHT - 8}" text-anchor="end" fill="#555">minutes since the start</text>`,
    ...plot.series.map((series, index) => lineOf(series, colourOf(index), scale)),
    ...legendOf(plot.series),
    "</svg>\n",
  ].join("\n");
}

function scaleOf({ series, seconds, logarithmic = false }: Plot): Scale {
  const values = series
    .flatMap(({ points }) => points.map(({ value }) => value))
    .filter((value) => Number.isFinite(value) && (!logarithmic || value > 0));
  const most = Math.max(...values, logarithmic ? 1 : 0);
  const x = (at: number) => LEFT + (at / Math.max(1, seconds)) * (WIDTH - LEFT - RIGHT);
  const height = HEIGHT - TOP - BOTTOM;
  if (logarithmic) {
    const low = Math.floor(Math.log10(Math.min(...values, most)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(most)));
    const ticks = Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index));
    const share = (value: number) => (Math.log10(value) - low) / (high - low);
    return { x, ticks, y: (value) => TOP + height * (1 - share(value)) };
  }
  const step = niceStep(most / TICKS);
  const top = Math.max(step, Math.ceil(most / step) * step);
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, index) => index * step);
  return { x, ticks, y: (value) => TOP + height * (1 - value / top) };
}

/** 1, 2 or 5 times a power of ten, the next above. */
function niceStep(rough: number): number {
  if (rough <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5].find((each) => each * power >= rough) ?? 10) * power;
}

function bandOf({ from, to }: Band, index: number, { x }: Scale): string {
  const width = Math.max(1, x(to) - x(from)).toFixed(1);
  const colour = BAND_COLOURS[index === 0 ? 0 : 1];
  return `<rect x="${x(from).toFixed(1)}" y="${TOP}" width="${width}" height="${HEIGHT - TOP - BOTTOM}" fill="${colour}"/>`;
}

function bandNameOf({ name, from }: Band, index: number, { x }: Scale): string {
  const y = index === 0 ? HEIGHT - BOTTOM - 6 : TOP + 12;
  return `<text x="${(x(from) + 3).toFixed(1)}" y="${y}" font-size="10" fill="#777">${escaped(name)}</text>`;
}

function rowOf(value: number, { y }: Scale): string {
  const at = y(value).toFixed(1);
  return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="#ddd"/><text x="${LEFT - 8}" y="${at}" dy="4" text-anchor="end">${numberText(value)}</text>`;
}

function minutesOf(seconds: number, { x }: Scale): readonly string[] {
  const step = niceStep(seconds / 60 / 12);
  const count = Math.floor(seconds / 60 / step) + 1;
  return Array.from({ length: count }, (_, index) => {
    const at = x(index * step * 60).toFixed(1);
    const base = HEIGHT - BOTTOM;
    return `<line x1="${at}" x2="${at}" y1="${base}" y2="${base + 5}" stroke="#888"/><text x="${at}" y="${base + 19}" text-anchor="middle">${numberText(index * step)}</text>`;
  });
}

function lineOf({ points, style }: Series, colour: string, { x, y }: Scale): string {
  const shown = points.filter(({ value }) => Number.isFinite(y(value)));
  if (style === "dots") {
    return shown
      .map(
        ({ seconds, value }) =>
          `<circle cx="${x(seconds).toFixed(1)}" cy="${y(value).toFixed(1)}" r="2.5" fill="${colour}"/>`,
      )
      .join("");
  }
  const path = shown.map(({ seconds, value }) => `${x(seconds).toFixed(1)},${y(value).toFixed(1)}`);
  const dashes = style === "dashes" ? ' stroke-dasharray="7 4"' : "";
  return `<polyline points="${path.join(" ")}" fill="none" stroke="${colour}" stroke-width="1.6"${dashes}/>`;
}

function legendOf(series: readonly Series[]): readonly string[] {
  let at = LEFT;
  return series.map(({ name, style }, index) => {
    const colour = colourOf(index);
    const mark =
      style === "dots"
        ? `<circle cx="${at + 9}" cy="34" r="3" fill="${colour}"/>`
        : `<line x1="${at}" x2="${at + 18}" y1="34" y2="34" stroke="${colour}" stroke-width="2.5"${style === "dashes" ? ' stroke-dasharray="7 4"' : ""}/>`;
    const text = `<text x="${at + 23}" y="38">${escaped(name)}</text>`;
    at += 44 + name.length * 7;
    return mark + text;
  });
}

function colourOf(index: number): string {
  return COLOURS[index % COLOURS.length] ?? "black";
}

function numberText(value: number): string {
  if (value !== 0 && Math.abs(value) < 1) return value.toPrecision(1);
  return Number(value.toFixed(2)).toLocaleString("en");
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/gu, (character) => `&#${character.charCodeAt(0)};`);
}
