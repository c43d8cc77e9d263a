import type { Content } from "../mail/content.ts";

/**
 * A message as received, as a stream: at most one chunk of it is in memory. Rejects when not even the first chunk can be
 * read; what fails later breaks the connection off, so that nobody takes a part for the whole.
 */
export async function contentResponse(id: string, content: Content, head: boolean) {
  const headers = {
    "Content-Type": "message/rfc822",
    "Content-Length": String(content.prefix.length + bodySize(content)),
    "Content-Disposition": `attachment; filename="${id}.eml"`,
  };
  if (head) return new Response(null, { headers });
  const chunks = chunksOf(content);
  const first = await chunks.next();
  return new Response(streamOf(first, chunks), { headers });
}

function bodySize({ body }: Content): number {
  return body.kind === "bytes" ? body.bytes.length : body.size;
}

async function* chunksOf({ prefix, body }: Content): AsyncGenerator<Uint8Array> {
  if (prefix.length > 0 && body.kind === "bytes") yield prefix;
  if (body.kind === "bytes") {
    yield body.bytes;
    return;
  }
  // The prefix goes out with the first chunk, so that a body that cannot be read is noticed before.
  let before = prefix;
  for await (const chunk of body.stream()) {
    if (before.length > 0) yield before;
    before = EMPTY;
    yield chunk;
  }
  if (before.length > 0) yield before;
}

const EMPTY = new Uint8Array();

function streamOf(first: IteratorResult<Uint8Array>, chunks: AsyncGenerator<Uint8Array>) {
  let next: IteratorResult<Uint8Array> | undefined = first;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const result = next ?? (await chunks.next());
        next = undefined;
        if (result.done) controller.close();
        else controller.enqueue(result.value);
      },
      async cancel() {
        await chunks.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
