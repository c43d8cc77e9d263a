import { nextControl, type Scannable, scannable } from "../mail/line-endings.ts";

const NUL = 0x00;
const LF = 0x0a;
const CR = 0x0d;
const DOT = 0x2e;

/**
 * Where the scan stands, between two bytes: at the start of a line; within one; behind a CR that may begin a line end;
 * behind the dot that began a line; behind that dot and a CR; behind the end of data. What was read of a possible line
 * end or dot is not given out before it is known what it is.
 */
type State = "start" | "within" | "cr" | "dot" | "dot-cr" | "end";

/**
 * Reads the data of one message off the wire (RFC 5321 §4.1.1.4, §4.5.2): finds the end, which is CRLF.CRLF and nothing
 * else, takes away the dots that hide lines, and turns every bare CR and bare LF into CRLF, so that no later hop can
 * see another end than this one. Only CRLF starts a line here. The result is the same however the bytes are split.
 */
export interface DataScanner {
  /** Reads on in `chunk` from `from`; returns the index behind the last byte that belongs to this message. */
  take(chunk: Uint8Array, from: number): number;
  /** The content that the last `take` gave: mostly a view of the chunk, else a copy with repairs; empty if none. */
  readonly piece: Uint8Array;
  readonly ended: boolean;
  /** A bare CR or LF was seen. */
  readonly sawBareLineEnd: boolean;
  readonly sawNul: boolean;
  /** A line of the content may begin with a dot. */
  readonly sawDotLine: boolean;
}

const NOTHING = new Uint8Array(0);
const LINE_END = Uint8Array.of(CR, LF);

/** A scanner for the data of one message. */
export function dataScanner(): DataScanner {
  return new Scanner();
}

class Scanner implements DataScanner {
  sawBareLineEnd = false;
  sawNul = false;
  sawDotLine = false;
  #state: State = "start";
  #chunk: Uint8Array = NOTHING;
  /** Where the bytes begin that were read but not given out yet, all of them in one run. */
  #runStart = 0;
  /** Where the CR of state "cr" is within the run; -1 when it came in an earlier chunk. */
  #crAt = -1;
  #firstRun: Uint8Array = NOTHING;
  /** Only once one view of the chunk is not enough. */
  #copy: Uint8Array | undefined;
  #copied = 0;

  get ended(): boolean {
    return this.#state === "end";
  }

  get piece(): Uint8Array {
    return this.#copy === undefined ? this.#firstRun : this.#copy.subarray(0, this.#copied);
  }

  take(chunk: Uint8Array, from: number): number {
    this.#chunk = chunk;
    this.#firstRun = NOTHING;
    this.#copy = undefined;
    this.#copied = 0;
    this.#runStart = from;
    const scan = scannable(chunk);
    let at = from;
    while (at < chunk.length && this.#state !== "end") {
      at = this.#state === "within" ? this.#text(scan, at) : this.#step(chunk[at] ?? NUL, at);
    }
    if (this.#state === "cr") this.#letGoOfCr();
    else this.#give(at);
    this.#chunk = NOTHING;
    return at;
  }

  /** Reads ordinary lines, the only state in which bytes come in numbers. Returns where something else begins. */
  #text(scan: Scannable, from: number): number {
    const { bytes } = scan;
    let at = nextControl(scan, from);
    // The line ends of ordinary text are passed without leaving this loop.
    while (bytes[at] === CR && bytes[at + 1] === LF && at + 2 < bytes.length) {
      if (bytes[at + 2] === DOT) {
        this.#state = "start";
        return at + 2;
      }
      at = nextControl(scan, at + 2);
    }
    return at < bytes.length ? this.#step(bytes[at] ?? NUL, at) : at;
  }

  /** Reads the one byte at `at`; returns the index of the next. */
  #step(byte: number, at: number): number {
    switch (this.#state) {
      case "start":
        if (byte !== DOT) return this.#within(byte, at);
        this.#give(at);
        this.#skip(at, "dot");
        break;
      case "within":
        return this.#within(byte, at);
      case "cr":
        return this.#afterCr(byte, at);
      case "dot":
        this.#runStart = at;
        if (byte === DOT) this.sawDotLine = true;
        if (byte !== CR) return this.#within(byte, at);
        this.#crAt = -1;
        this.#skip(at, "dot-cr");
        break;
      case "dot-cr":
        if (byte !== LF) return this.#afterCr(byte, at);
        this.#skip(at, "end");
        break;
      case "end":
        break;
    }
    return at + 1;
  }

  #within(byte: number, at: number): number {
    this.#state = "within";
    if (byte === CR) {
      this.#state = "cr";
      this.#crAt = at;
    }
    if (byte === LF) this.#repair(at);
    if (byte === NUL) this.sawNul = true;
    return at + 1;
  }

  #afterCr(byte: number, at: number): number {
    if (byte === LF) {
      // A pair within one chunk stays where it is, in the run.
      if (this.#crAt < 0) {
        this.#append(LINE_END);
        this.#runStart = at + 1;
      }
      this.#state = "start";
      return at + 1;
    }
    // The CR stood alone. This byte is read again, as what follows a line end that starts no line.
    this.sawBareLineEnd = true;
    if (this.#crAt >= 0) this.#give(this.#crAt);
    this.#append(LINE_END);
    this.#runStart = at;
    this.#state = "within";
    return at;
  }

  /** The chunk ends with a CR: what it is, the next chunk tells. */
  #letGoOfCr(): void {
    if (this.#crAt >= 0) this.#give(this.#crAt);
    this.#crAt = -1;
  }

  /** Leaves the byte at `at` out of the content. */
  #skip(at: number, state: State): void {
    this.#runStart = at + 1;
    this.#state = state;
  }

  /** Replaces the bare LF at `at`. */
  #repair(at: number): void {
    this.sawBareLineEnd = true;
    this.#give(at);
    this.#append(LINE_END);
    this.#runStart = at + 1;
  }

  #give(end: number): void {
    if (end <= this.#runStart) return;
    const { buffer, byteOffset } = this.#chunk;
    // Not `subarray`: content must be plain bytes also when the chunk is a subclass.
    const run = new Uint8Array(buffer, byteOffset + this.#runStart, end - this.#runStart);
    this.#runStart = end;
    if (this.#copy === undefined && this.#firstRun.length === 0) this.#firstRun = run;
    else this.#append(run);
  }

  #append(bytes: Uint8Array): void {
    if (this.#copy === undefined) {
      // Every byte becomes two at the most, and one CR may be left over from the chunk before.
      this.#copy = new Uint8Array(this.#chunk.length * 2 + 2);
      this.#copy.set(this.#firstRun);
      this.#copied = this.#firstRun.length;
    }
    this.#copy.set(bytes, this.#copied);
    this.#copied += bytes.length;
  }
}
