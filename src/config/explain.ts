import { variableOf } from "./layers.ts";
import type { Loaded } from "./load.ts";
import { formatOrigin } from "./origin.ts";
import { redact } from "./redact.ts";

/** One setting as operators see it. Holds no secret. */
export interface Explained {
  readonly path: string;
  /** As written, secrets replaced by `<secret>`. */
  readonly value: unknown;
  readonly origin: string;
  readonly default: unknown;
  readonly doc: string;
  /** The environment variable that sets it. */
  readonly variable: string;
}

/** Every setting with its value, where that came from, and what it means. */
export function explain({ values }: Loaded): Explained[] {
  return values.map(({ setting, raw, origin }) => ({
    path: setting.path,
    value: redact(raw, setting.secret),
    origin: formatOrigin(origin),
    default: setting.default,
    doc: setting.doc,
    variable: variableOf(setting.path),
  }));
}
