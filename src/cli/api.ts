import * as v from "valibot";

// What the admin endpoint answers, as far as the commands read it. It may be of another version: unknown members pass.

const instant = v.pipe(
  v.string(),
  v.check((text) => !Number.isNaN(Date.parse(text)), "an instant"),
);
const text = v.nullish(v.string(), "");
/** Printed as it is, beside what others wrote. */
const word = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/u));
const count = v.pipe(v.number(), v.minValue(0));

/** One that is done may have lost its address. */
const recipient = v.object({
  address: v.nullish(v.string(), "(done)"),
  status: text,
  reason: text,
});

export const messageSchema = v.object({
  id: word,
  state: word,
  sender: v.string(),
  size: count,
  received_at: instant,
  due_at: v.nullish(instant),
  attempts: count,
  recipients: v.optional(v.array(recipient), []),
});

export const pageSchema = v.object({
  messages: v.array(messageSchema),
  next: v.nullish(v.string()),
});

export const detailSchema = v.object({
  ...messageSchema.entries,
  expires_at: v.nullish(instant),
  client: v.nullish(v.record(v.string(), v.unknown())),
  holder: text,
  leased_until: v.nullish(instant),
  moving: v.nullish(v.object({ from: v.string(), to: v.string() })),
  recipients: v.array(v.object({ ...recipient.entries, relay: text, orcpt: text })),
});

export const queueSchema = v.looseObject({
  size: count,
  states: v.record(word, v.number()),
});

export const flushedSchema = v.object({ flushed: count });
export const countSchema = v.object({ count });

/** RFC 9457. */
export const problemSchema = v.object({ title: text, detail: text });

export type Message = v.InferOutput<typeof messageSchema>;
export type Page = v.InferOutput<typeof pageSchema>;
export type Detail = v.InferOutput<typeof detailSchema>;
