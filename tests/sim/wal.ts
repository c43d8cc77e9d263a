import * as fs from "node:fs";

/** How far a write-ahead file of SQLite has come. */
export interface WalMark {
  /** Changes whenever the file is started over. */
  readonly salt: string;
  readonly frames: number;
  readonly frameBytes: number;
}

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const NOTHING: WalMark = { salt: "", frames: 0, frameBytes: 0 };

/** Where the writers are by now, as SQLite's own index of the file says. */
export function walMark(database: string): WalMark {
  if (!fs.existsSync(`${database}-shm`) || !fs.existsSync(`${database}-wal`)) return NOTHING;
  const header = Buffer.alloc(48);
  const fd = fs.openSync(`${database}-shm`, "r");
  const count = fs.readSync(fd, header, 0, header.length, 0);
  fs.closeSync(fd);
  if (count < header.length) return NOTHING;
  const page = header.readUInt16LE(14);
  return {
    salt: header.toString("hex", 32, 40),
    frames: header.readUInt32LE(16),
    frameBytes: FRAME_HEADER_BYTES + (page === 1 ? 65_536 : page),
  };
}

/** The bytes of the first `frames` frames, and so many of the next. */
export function walPrefix(database: string, mark: WalMark, frames: number, more: number): Buffer {
  const bytes = fs.readFileSync(`${database}-wal`);
  return bytes.subarray(0, HEADER_BYTES + frames * mark.frameBytes + more);
}
