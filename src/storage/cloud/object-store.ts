/**
 * The objects that the cloud engine keeps its mail in: the parent's `object_store`. Keys are text of `A-Z a-z 0-9 / . _ -`,
 * at most 1024 octets; no part between slashes is `.` or `..`. A read sees every write, list and removal that ended before it
 * began (as S3 promises).
 *
 * Everything may throw `QueueError`. After an error of `put` or `remove` nobody knows whether it was done: whoever needs to
 * know reads.
 */
export interface ObjectStore {
  /**
   * Stores an object whole or not at all. It is durable when this resolves. With a condition, `undefined` says that
   * the condition did not hold and nothing was changed. Else the version that is stored now.
   */
  put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string | undefined>;

  /** The object, or octets `start` to `end` (not included) of it; `undefined` when there is none. */
  get(key: string, range?: OctetRange): Promise<StoredObject | undefined>;

  /** Its octets from `start` on, as they come. Throws `QueueError` when there is none or it ends early. */
  stream(key: string, start?: number): AsyncIterable<Uint8Array>;

  /** Removes them all, in no order; those that are not there do not matter. */
  remove(keys: readonly string[]): Promise<void>;

  /** One page of the keys with this prefix, in the order of their octets. */
  list(query: ObjectQuery): Promise<ObjectPage>;

  /** Opens an object that is written in parts, for a body that should not be in memory whole. */
  upload(key: string): ObjectUpload;

  /** Requests sent so far, by kind, where each costs: the bill. */
  requests?(): Readonly<Record<string, number>>;
}

/**
 * `absent`: nothing is stored under the key. `version`: just that is, as a read or a write gave it. The same octets are the
 * same version: whoever minds makes every object different.
 */
export type PutCondition = "absent" | { readonly version: string };

/** A part of an object. */
export interface OctetRange {
  /** The first octet, from 0. */
  readonly start: number;
  /** The first octet that is not asked for any more. */
  readonly end: number;
}

/** An object as it was read. */
export interface StoredObject {
  /** All octets that were asked for. */
  readonly bytes: Uint8Array;
  /** What it is known by in a condition. */
  readonly version: string;
}

/** Which keys a page shows. */
export interface ObjectQuery {
  /** What they begin with; may be empty. */
  readonly prefix: string;
  /** Keys behind this one; from the start without it. It need not exist. */
  readonly after?: string;
  /** At most 1000. */
  readonly limit: number;
}

/** One page of keys. */
export interface ObjectPage {
  /** In the order of the octets of their keys. */
  readonly objects: readonly ListedObject[];
  /** Whether there may be more behind the last one. */
  readonly isMore: boolean;
}

/** What a page says of one object. */
export interface ListedObject {
  /** Its key. */
  readonly key: string;
  /** Octets. */
  readonly size: number;
  /** When it was stored, by the store's clock, in milliseconds since the epoch; many stores know whole seconds only. */
  readonly storedAt: number;
}

/** An object that is being written. */
export interface ObjectUpload {
  /** Takes octets in any sizes; resolves when more may come. */
  write(bytes: Uint8Array): Promise<void>;
  /** The object is stored, whole and durable, when this resolves. */
  end(): Promise<void>;
  /** Nothing is stored. Idempotent; never rejects. */
  abort(): Promise<void>;
}
