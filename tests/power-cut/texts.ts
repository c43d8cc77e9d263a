/** The text of a message by its name: its octets tell which message they are of, wherever they turn up. */
export function textOf(name: string, size: number): Uint8Array {
  const head = Buffer.from(`Subject: ${name}\r\n\r\n`);
  const text = Buffer.alloc(Math.max(size, head.length), `${name} speaks.\r\n`);
  text.set(head);
  return new Uint8Array(text);
}
