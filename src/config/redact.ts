import { redactLogin } from "./relay-url.ts";
import type { About } from "./setting.ts";

/** What stands for a secret wherever values are shown. */
export const SECRET = "<secret>";
const SHOWN_LENGTH_MAX = 200;

/** A value for people: as JSON, of bounded length, without what is secret in it. */
export function show(raw: unknown, secret: About["secret"]): string {
  const text = JSON.stringify(redact(raw, secret)) ?? "nothing";
  return text.length <= SHOWN_LENGTH_MAX ? text : `${text.slice(0, SHOWN_LENGTH_MAX)}...`;
}

/** The same value without what is secret in it. Empty is no secret. */
export function redact(raw: unknown, secret: About["secret"]): unknown {
  if (secret === undefined || raw === "" || raw === undefined) return raw;
  if (secret === true) return SECRET;
  if (Array.isArray(raw)) return raw.map((entry) => redact(entry, secret));
  if (typeof raw !== "string") return typeof raw === "object" ? SECRET : raw;
  return raw
    .split(/(?=[\s,]+(?:smtps?:|mx|none|blackhole))/u)
    .map((part) =>
      part.replace(/^([\s,]*)(.*)$/su, (_, gap: string, entry: string) => {
        return gap + redactLogin(entry);
      }),
    )
    .join("");
}
