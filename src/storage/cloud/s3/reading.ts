import { QueueError } from "../../../mail/queue-error.ts";
import type { Answer } from "../aws/exchange.ts";
import type { OctetRange, StoredObject } from "../object-store.ts";
import type { S3Requests } from "./requests.ts";

/** Octets that a stream asks for at once: no connection is held while whoever reads takes its time. */
const PIECE_BYTES = 1024 * 1024;

interface Piece extends StoredObject {
  /** Of the whole object. */
  readonly size: number;
}

/** The object or a range of it; `undefined` when there is none. */
export async function readPiece(
  requests: S3Requests,
  key: string,
  range?: OctetRange,
): Promise<Piece | undefined> {
  const headers = range && { range: `bytes=${range.start}-${range.end - 1}` };
  const asked = { kind: "GET", key, isRepeatable: true, expected: [404, 416] } as const;
  const answer = await requests.send({ ...asked, ...(headers && { headers }) });
  if (answer.status === 404) return undefined;
  // The range begins where the object ends.
  if (answer.status === 416) return await emptyPiece(requests, key);
  const { bytes } = answer;
  const version = versionOf(key, answer);
  const total = /\/(\d+)$/u.exec(answer.headers.get("content-range") ?? "")?.[1];
  if (total !== undefined) return { bytes, size: Number(total), version };
  // Whoever knows no ranges sends it whole.
  return { bytes: bytes.subarray(range?.start, range?.end), size: bytes.length, version };
}

async function emptyPiece(requests: S3Requests, key: string): Promise<Piece | undefined> {
  const asked = { kind: "HEAD", key, isRepeatable: true, expected: [404] } as const;
  const answer = await requests.send(asked);
  if (answer.status === 404) return undefined;
  const size = Number(answer.headers.get("content-length") ?? 0);
  return { bytes: new Uint8Array(), size, version: versionOf(key, answer) };
}

/** The octets of an object from `start` on, piece by piece. */
export async function* readStream(
  requests: S3Requests,
  key: string,
  start: number,
): AsyncGenerator<Uint8Array> {
  let version: string | undefined;
  for (let at = start; ; ) {
    const piece = await readPiece(requests, key, { start: at, end: at + PIECE_BYTES });
    if (piece === undefined) throw new QueueError(`${key} is not in the object store`);
    version ??= piece.version;
    if (piece.version !== version) throw new QueueError(`${key} was replaced while it was read`);
    if (piece.bytes.length === 0 && at < piece.size) throw new QueueError(`${key} ends early`);
    if (piece.bytes.length > 0) yield piece.bytes;
    at += piece.bytes.length;
    if (at >= piece.size) return;
  }
}

/** What a condition can be put on later. */
export function versionOf(key: string, { headers }: Answer): string {
  const etag = headers.get("etag");
  if (etag === null) throw new QueueError(`the object store gave no ETag for ${key}`);
  return etag;
}
