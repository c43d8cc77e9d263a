// DEL and C1, line separators and what turns the direction of text.
const BEYOND_C0 = "\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff";

/** A character that no line can show, or that a terminal might obey. */
export const CONTROL: RegExp = new RegExp(`[\\u0000-\\u001f${BEYOND_C0}]`, "u");

/** The same without C0, which JSON escapes by itself. */
export const CONTROL_IN_JSON: RegExp = new RegExp(`[${BEYOND_C0}]`, "u");
