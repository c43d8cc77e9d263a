import { bodySize, type Content, concatBytes, contentHead, contentSize } from "../mail/content.ts";
import { headerOf } from "../mail/header.ts";
import type { Notice } from "./notice.ts";
import { isSevenBit, type Part } from "./part.ts";

const LF = 0x0a;

/**
 * What goes back of the message: all of it, or its header. All of it only of a failed message, when its sender did not
 * ask for the header alone (RFC 3461 §4.3), when it is at most `returnBytesMax` long and in memory.
 */
export function returnedPart(notice: Notice): Part {
  const { action, original, returnBytesMax } = notice;
  const wantsAll = action === "failed" && original.dsn.ret !== "HDRS";
  const fits = contentSize(original.content) <= returnBytesMax;
  const all = wantsAll && fits ? bytesInMemory(original.content) : undefined;
  const header = headerBytes(original.content);
  const isGlobal = original.smtpUtf8 && !isSevenBit(header);
  if (all) return part(isGlobal ? "message/global" : "message/rfc822", "Undelivered message", all);
  const type = isGlobal ? "message/global-headers" : "text/rfc822-headers";
  return part(type, "Header of the message", header);
}

function part(type: string, description: string, bytes: Uint8Array): Part {
  return { type, description, bytes };
}

function bytesInMemory({ prefix, body }: Content): Uint8Array | undefined {
  const bytes = body.kind === "bytes" ? body.bytes : body.head;
  return bytes.length === bodySize(body) ? concatBytes([prefix, bytes]) : undefined;
}

/** Whole lines only: a header that is longer than what is kept of it ends in the middle of one. */
function headerBytes(content: Content): Uint8Array {
  const header = contentHead(content).subarray(0, headerOf(content).headerEnd);
  return header.at(-1) === LF ? header : header.subarray(0, header.lastIndexOf(LF) + 1);
}
