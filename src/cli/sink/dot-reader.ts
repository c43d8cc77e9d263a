/** What a piece of the DATA stream gave. */
export interface DotRead {
  /** Content so far, dots unstuffed. */
  readonly content: readonly Uint8Array[];
  /** What follows the end of data; `undefined` while it has not come. */
  readonly rest: Uint8Array | undefined;
}

const CRLF = Buffer.from("\r\n");
const CRLF_DOT = Buffer.from("\r\n.");
/** The end of data is CRLF "." CRLF, so up to four bytes cannot be judged before more come. */
const HELD_BYTES = CRLF_DOT.byteLength + 1;

/**
 * Reads the content of one message (RFC 5321 §4.5.2), from the byte after the CRLF of DATA. Only CRLF "." CRLF ends it;
 * everything else is content.
 */
export function dotReader(): (chunk: Uint8Array) => DotRead {
  // The line of DATA ended with the CRLF that a dot on the first line needs.
  let held: Buffer = CRLF;
  let virtual = CRLF.byteLength;

  const emit = (into: Uint8Array[], piece: Buffer) => {
    const visible = piece.subarray(virtual);
    virtual = Math.max(0, virtual - piece.byteLength);
    if (visible.byteLength > 0) into.push(visible);
  };

  return (chunk) => {
    const bytes = Buffer.concat([held, chunk]);
    const content: Uint8Array[] = [];
    let from = 0;
    for (let at = bytes.indexOf(CRLF_DOT); at >= 0; at = bytes.indexOf(CRLF_DOT, from)) {
      const after = at + CRLF_DOT.byteLength;
      if (after + CRLF.byteLength > bytes.byteLength) break;
      emit(content, bytes.subarray(from, at + CRLF.byteLength));
      if (bytes[after] === 0x0d && bytes[after + 1] === 0x0a) {
        return { content, rest: bytes.subarray(after + CRLF.byteLength) };
      }
      from = after;
    }
    const keep = Math.max(from, bytes.byteLength - HELD_BYTES);
    emit(content, bytes.subarray(from, keep));
    held = bytes.subarray(keep);
    return { content, rest: undefined };
  };
}
