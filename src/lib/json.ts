import { CONTROL_IN_JSON } from "./controls.ts";

const EVERY_CONTROL = new RegExp(CONTROL_IN_JSON, "gu");

/** JSON that is safe to print: every character that a terminal might obey is escaped. */
export function terminalJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent);
  return text.replace(EVERY_CONTROL, (control) => {
    return `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
