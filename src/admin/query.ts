import * as v from "valibot";
import { ID_PATTERN } from "../lib/id.ts";
import type { Selector } from "../queue/control.ts";
import { ProblemError } from "./problem.ts";

/** Messages in one page. */
export const PAGE_DEFAULT = 100;
export const PAGE_MAX = 1000;

const STATES = ["incoming", "active", "deferred", "hold"] as const;
const TEXT_MAX = 320;

const format = v.optional(v.picklist(["json", "text"], "is json or text"));
const flag = v.pipe(
  v.picklist(["true", "false"], "is true or false"),
  v.transform((text) => text === "true"),
);
const text = v.pipe(v.string(), v.maxLength(TEXT_MAX, `has at most ${TEXT_MAX} characters`));
const domain = v.optional(v.pipe(text, v.toLowerCase()));
const sender = v.optional(text);
const state = v.optional(v.picklist(STATES, `is one of ${STATES.join(", ")}`));

const limit = v.pipe(
  v.string(),
  v.regex(/^\d{1,6}$/u, "is a number"),
  v.transform(Number),
  v.minValue(1, "is at least 1"),
  v.maxValue(PAGE_MAX, `is at most ${PAGE_MAX}`),
);

export const formatQuery = v.strictObject({ format });
export const noQuery = v.strictObject({});
export const flushQuery = v.strictObject({ domain, sender });
export const bulkQuery = v.strictObject({ state, domain, sender, all: v.optional(flag) });
export const listQuery = v.strictObject({
  state,
  domain,
  sender,
  after: v.optional(v.pipe(v.string(), v.regex(ID_PATTERN, "is a message id"))),
  limit: v.optional(limit, String(PAGE_DEFAULT)),
  recipients: v.optional(flag, "false"),
  format,
});

/** Reads the query of a URL by its schema; what is wrong with it becomes one 400 that names every fault. */
export function readQuery<
  T extends v.StrictObjectSchema<v.ObjectEntries, v.ErrorMessage<v.StrictObjectIssue> | undefined>,
>(url: string, schema: T): v.InferOutput<T> {
  const { searchParams } = new URL(url);
  const names = [...searchParams.keys()];
  const twice = names.filter((name, index) => names.indexOf(name) !== index);
  const result = v.safeParse(schema, Object.fromEntries(searchParams));
  const faults = twice.map((name) => `${shown(name)} is given twice`);
  for (const issue of result.issues ?? []) {
    const name = shown(String(issue.path?.[0]?.key ?? ""));
    faults.push(name in schema.entries ? `${name} ${issue.message}` : `${name} is unknown`);
  }
  if (result.success && faults.length === 0) return result.output;
  throw badQuery(`${faults.join("; ")}. ${knownNames(Object.keys(schema.entries))}`);
}

/** The selector of a bulk verb: all messages only when that was said. */
export function readSelector(url: string): Selector {
  const { all = false, state, domain, sender } = readQuery(url, bulkQuery);
  const selector = selectorOf({ state, domain, sender });
  const empty = Object.keys(selector).length === 0;
  if (empty && !all) {
    throw badQuery("Say which messages: state=, domain= or sender=, or all=true for every one.");
  }
  if (!empty && all) throw badQuery("all=true goes with no other selector.");
  return selector;
}

/** Leaves out what was not given. */
export function selectorOf(given: {
  readonly state?: Selector["state"] | undefined;
  readonly domain?: string | undefined;
  readonly sender?: string | undefined;
}): Selector {
  const { state, domain, sender } = given;
  return {
    ...(state === undefined ? {} : { state }),
    ...(domain === undefined ? {} : { domain }),
    ...(sender === undefined ? {} : { sender }),
  };
}

function badQuery(detail: string): ProblemError {
  return new ProblemError({ status: 400, detail });
}

function knownNames(names: readonly string[]): string {
  return names.length === 0 ? "No parameter is known here." : `Known here: ${names.join(", ")}.`;
}

function shown(name: string): string {
  return /^[\w.-]{1,40}$/u.test(name) ? name : "a parameter";
}
