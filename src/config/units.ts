const MS_OF: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const BYTES_OF: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** Milliseconds of a duration such as `30s`, `5m`, `1h30m` or `500ms`; a bare `0` is one, other bare numbers are not. */
export function readDuration(raw: unknown): number | undefined {
  if (raw === 0 || raw === "0") return 0;
  if (typeof raw !== "string" || !/^(?:\d+(?:ms|[smhd]))+$/u.test(raw)) return undefined;
  let ms = 0;
  for (const [, digits, unit = ""] of raw.matchAll(/(\d+)(ms|[smhd])/gu)) {
    ms += Number(digits) * (MS_OF[unit] ?? Number.NaN);
  }
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** Bytes of a size such as `25MiB`, `512KiB`, `10MB`, or a bare number of bytes. */
export function readSize(raw: unknown): number | undefined {
  const text = typeof raw === "number" ? String(raw) : raw;
  if (typeof text !== "string") return undefined;
  const [, digits, unit = ""] = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/u.exec(text) ?? [];
  const factor = unit === "" ? 1 : BYTES_OF[unit];
  if (digits === undefined || factor === undefined) return undefined;
  const bytes = Number(digits) * factor;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A share from 0 to 1 out of `10%` or `10`. */
export function readPercent(raw: unknown): number | undefined {
  const text = typeof raw === "number" ? String(raw) : raw;
  if (typeof text !== "string" || !/^\d+(?:\.\d+)? ?%?$/u.test(text)) return undefined;
  const percent = Number.parseFloat(text);
  return percent <= 100 ? percent / 100 : undefined;
}

/** A whole number within bounds, also out of text. */
export function readWhole(raw: unknown, least: number, most: number): number | undefined {
  const value = typeof raw === "string" && /^\d{1,15}$/u.test(raw) ? Number(raw) : raw;
  if (typeof value !== "number" || !Number.isInteger(value)) return undefined;
  return value >= least && value <= most ? value : undefined;
}
