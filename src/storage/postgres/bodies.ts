import { crc32 } from "node:zlib";
import { type BodySink, HEAD_BYTES_MAX, type SourceBody } from "../../mail/content.ts";
import { CorruptError } from "../storage.ts";
import { cutUp } from "./body-parts.ts";
import type { Connections } from "./connections.ts";
import { storeError } from "./errors.ts";
import type { StoredBodies } from "./insert.ts";
import type { Tables } from "./schema.ts";

/** Octets of one row of a large body: the most of it that is in memory at once. The first row is the head. */
const CHUNK_BYTES = 256 * 1024;
/** A body that no message has, and that nobody has added to for so long, is what a crash has left. */
const ABANDONED = "interval '6 hours'";

export interface BodiesParts {
  readonly tables: Tables;
  readonly connections: Connections;
  /** The bodies that lie in the database, known by what stands for them here. */
  readonly stored: StoredBodies;
  readonly newId: () => string;
}

export interface StoredBody {
  readonly id: string;
  readonly size: number;
  readonly head: Uint8Array;
}

/**
 * Large bodies, in rows of their own. Each piece is stored as it comes; that nobody waits for the disk here is no gap: the
 * commit that stores a message makes everything durable that was committed before it.
 */
export class Bodies {
  readonly #parts: BodiesParts;
  readonly #statements: ReturnType<typeof statementsOf>;

  constructor(parts: BodiesParts) {
    this.#parts = parts;
    this.#statements = statementsOf(parts.tables);
  }

  async open(): Promise<BodySink> {
    const { stored, newId } = this.#parts;
    const { create, append, finish } = this.#statements;
    const id = newId();
    await this.#query(create, [id]);
    const parts = cutUp(HEAD_BYTES_MAX, CHUNK_BYTES, async (bytes, part) => {
      await this.#query(append, [id, part, crc32(bytes), bytes]);
    });
    let isOver = false;
    return {
      write: (bytes) => parts.write(bytes),
      end: async () => {
        const { size, head } = await parts.end();
        await this.#query(finish, [id, size]);
        const source = this.source({ id, size, head }, () => undefined);
        stored.set(source, id);
        return source;
      },
      discard: async () => {
        if (isOver) return;
        isOver = true;
        // What cannot be removed now is swept later.
        await this.drop([id]).catch(() => undefined);
      },
    };
  }

  /** The body of a message, whose head was read already. `onDamage` hears of a piece that fails its checksum. */
  source({ id, size, head }: StoredBody, onDamage: (reason: string) => void): SourceBody {
    return { kind: "source", size, head, stream: () => this.#read(id, size, onDamage) };
  }

  /** Removes those of them that no message has. */
  async drop(ids: readonly string[]): Promise<void> {
    await this.#parts.connections.run((connection) =>
      connection.unsafe(this.#statements.drop, [connection.array([...ids], "TEXT")]),
    );
  }

  /** Removes what crashed uploads have left. */
  async sweep(): Promise<void> {
    await this.#query(this.#statements.sweep, []);
  }

  async *#read(
    id: string,
    size: number,
    onDamage: (reason: string) => void,
  ): AsyncGenerator<Uint8Array> {
    let done = 0;
    for (let part = 0; done < size; part += 1) {
      const [row] = await this.#query(this.#statements.read, [id, part]);
      // Whoever relays it stops short of the end of a message that is damaged.
      if (row === undefined || crc32(row.bytes) !== row.crc) {
        const what = row === undefined ? "is missing" : "fails its checksum";
        const reason = `part ${part} of its body ${what}`;
        onDamage(reason);
        throw new CorruptError(reason);
      }
      done += row.bytes.length;
      yield row.bytes;
    }
  }

  async #query(text: string, values: readonly unknown[]) {
    try {
      return await this.#parts.connections.run((connection) =>
        connection.unsafe(text, [...values]),
      );
    } catch (error) {
      throw storeError(error);
    }
  }
}

function statementsOf({ body, chunk, record, corrupt }: Tables) {
  const soon = "WITH soon AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))";
  const isFree = `NOT EXISTS (SELECT FROM ${record} AS record WHERE record.body = body.id)
    AND NOT EXISTS (SELECT FROM ${corrupt} AS corrupt WHERE corrupt.body = body.id)`;
  const touched = `UPDATE ${body} SET touched_at = statement_timestamp() WHERE id = $1`;
  return {
    create: `${soon} INSERT INTO ${body} (id, touched_at) SELECT $1, statement_timestamp() FROM soon`,
    append: `${soon}, touched AS (${touched}) INSERT INTO ${chunk} (body, part, crc, bytes)
      SELECT $1, $2::int, $3::float8, $4::bytea FROM soon`,
    finish: `${soon} UPDATE ${body} SET size = $2::float8, touched_at = statement_timestamp()
      FROM soon WHERE id = $1`,
    read: `SELECT bytes, crc::float8 AS crc FROM ${chunk} WHERE body = $1 AND part = $2`,
    drop: `DELETE FROM ${body} AS body WHERE id = ANY($1) AND ${isFree}`,
    sweep: `DELETE FROM ${body} AS body WHERE touched_at < statement_timestamp() - ${ABANDONED} AND ${isFree}`,
  };
}
