import type { BodySink, SourceBody } from "../mail/content.ts";
import type { Envelope } from "../mail/envelope.ts";

/**
 * Streamed bodies that come from elsewhere, such as a message that was read from a store, are copied into sinks of this
 * store first; the ones that `known` has came out of such a sink. `discard` throws away what no message took over.
 */
export async function adoptBodies(
  envelopes: readonly Envelope[],
  known: { has(body: SourceBody): boolean },
  openBody: () => Promise<BodySink>,
): Promise<{ readonly envelopes: readonly Envelope[]; discard(): Promise<void> }> {
  const strangers = new Set<SourceBody>();
  for (const { content } of envelopes) {
    const { body } = content;
    if (body.kind === "source" && !known.has(body)) strangers.add(body);
  }
  const sinks: BodySink[] = [];
  const discard = async (): Promise<void> => {
    for (const sink of sinks) await sink.discard();
  };
  if (strangers.size === 0) return { envelopes, discard };
  const copies = new Map<unknown, SourceBody>();
  try {
    for (const body of strangers) {
      const sink = await openBody();
      sinks.push(sink);
      for await (const chunk of body.stream()) await sink.write(chunk);
      copies.set(body, await sink.end());
    }
  } catch (error) {
    await discard();
    throw error;
  }
  const copied = envelopes.map((envelope) => {
    const body = copies.get(envelope.content.body);
    return body === undefined ? envelope : { ...envelope, content: { ...envelope.content, body } };
  });
  return { envelopes: copied, discard };
}
