/** What one run of a case measured, by the name of the measure. */
export type Measures = Readonly<Record<string, number>>;

export const RATE = "messages/s";
export const CPU = "CPU s per 1000";
export const P50 = "p50 ms";
export const P99 = "p99 ms";

export interface Setting {
  readonly messages: number;
  /** Sent before anything is measured: what is compared is a server that has been running. */
  readonly warmup: number;
  readonly sessions: number;
  readonly bytes: number;
  readonly parent: string;
  /** Rounds of the cases that interleave by themselves. */
  readonly runs: number;
}
