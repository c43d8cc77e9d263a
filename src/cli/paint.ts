import type { Writer } from "./parts.ts";

const CODES = { bold: 1, dim: 2, red: 31 } as const;

/** Colours text where the writer shows colours. */
export function paint(writer: Writer, style: keyof typeof CODES, text: string): string {
  return writer.colour ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
}
