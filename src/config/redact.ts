import { redactLogin } from "./relay-url.ts";
import { type About, splitList } from "./setting.ts";

/** What stands for a secret wherever values are shown. */
export const SECRET = "<secret>";
const SHOWN_LENGTH_MAX = 200;

/** An `@`, or something behind a scheme and a colon that is no port: perhaps the half of a login. */
const MAY_BE_LOGIN = /@|:\/\/[^"]*:(?!\d)/u;

/**
 * A wrong value for people: as JSON, of bounded length, without secrets. `whole` is what the setting was given, of which
 * `raw` may be one entry: in a broken list nobody knows where a login begins and ends.
 */
export function showWrong(raw: unknown, whole: unknown, secret: About["secret"]): string {
  const hidden =
    secret === true || (secret !== undefined && MAY_BE_LOGIN.test(JSON.stringify(whole)));
  const text = JSON.stringify(hidden ? SECRET : redact(raw, secret)) ?? "nothing";
  return text.length <= SHOWN_LENGTH_MAX ? text : `${text.slice(0, SHOWN_LENGTH_MAX)}...`;
}

/** A value without what is secret in it. Empty is no secret. */
export function redact(raw: unknown, secret: About["secret"]): unknown {
  if (secret === undefined || raw === "" || raw === undefined) return raw;
  if (secret === true) return SECRET;
  if (Array.isArray(raw)) return raw.map((entry) => redact(entry, secret));
  if (typeof raw !== "string") return typeof raw === "object" ? SECRET : raw;
  if (secret === "url") return redactLogin(raw);
  // The word `none` is no list here.
  return raw === "none" ? raw : splitList(raw).map(redactLogin).join(" ");
}
