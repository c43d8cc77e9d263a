import type { ConfigValues } from "./schema.ts";

/**
 * The whole configuration, read and checked. Durations are milliseconds, sizes bytes, percentages a share from 0 to 1;
 * `null` is "off" or "not set". Names are those of the configuration file in camel case.
 */
export type Config = Camel<ConfigValues>;

type CamelKey<K> = K extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelKey<Tail> & string>}`
  : K;

type Camel<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { readonly [K in keyof T as CamelKey<K>]: Camel<T[K]> }
    : T;

/** Turns what the schema made into the configuration that the rooms are wired with. */
export function toConfig(values: ConfigValues): Config {
  const { queue } = values;
  // The narrower limit counts: who lowers one need not know of the other. That all nodes together may have more deliveries
  // under way at a destination than one node has at all is no contradiction.
  const start = Math.min(queue.per_destination_start, queue.per_destination_max);
  const limited = { ...queue, per_destination_start: start };
  return camelized({ ...values, queue: limited }) as Config;
}

function camelized(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [camel(key), camelized(inner)]),
  );
}

function camel(key: string): string {
  return key.replace(/_(.)/gu, (_, letter: string) => letter.toUpperCase());
}
