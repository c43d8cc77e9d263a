const HUNDREDTHS = Array.from({ length: 100 }, (_, value) => String(value / 100));
const TENTHS = Array.from({ length: 100 }, (_, value) => String(value / 10));

/**
 * Milliseconds as Postfix writes delays: seconds with two significant digits, at most two of them behind the point, whole
 * seconds in full: `0`, `0.05`, `0.4`, `1.2`, `12`, `345`.
 */
export function seconds(ms: number): string {
  if (!(ms > 0)) return "0";
  const hundredths = Math.round(ms / 10);
  if (hundredths < 100) return HUNDREDTHS[hundredths] ?? "0";
  const tenths = Math.round(ms / 100);
  return (tenths < 100 ? TENTHS[tenths] : undefined) ?? String(Math.round(ms / 1000));
}
