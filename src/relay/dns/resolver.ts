/** One MX record. */
export interface MxRecord {
  /** The lower ones are tried first (RFC 5321 §5.1). */
  readonly preference: number;
  /** Without the trailing dot; empty in a null MX (RFC 7505). */
  readonly exchange: string;
}

/** Why there are no records. Only `failed` may be different the next minute. */
export type NoRecords =
  /** NXDOMAIN: there is no such name. */
  | { readonly kind: "no-name" }
  /** NODATA: the name has records, but none of this type. */
  | { readonly kind: "no-data" }
  /** No server gave a usable answer. */
  | { readonly kind: "failed"; readonly detail: string };

/** Looks names up. Answers are values: it never rejects. */
export interface Resolver {
  /** MX records as found, in no particular order. */
  mx(
    name: string,
  ): Promise<{ readonly kind: "found"; readonly records: readonly MxRecord[] } | NoRecords>;
  /** A and AAAA together, the families taking turns. */
  addresses(
    name: string,
  ): Promise<{ readonly kind: "found"; readonly addresses: readonly string[] } | NoRecords>;
  /** Gives up what is under way. Idempotent. */
  close(): void;
}
