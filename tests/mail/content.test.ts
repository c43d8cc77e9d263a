import { expect, test } from "bun:test";
import {
  bodyContent,
  bodyHead,
  bodySize,
  bytesContent,
  type Content,
  concatBytes,
  contentChunks,
  contentHead,
  contentSize,
  HEAD_BYTES_MAX,
  readContent,
  type SourceBody,
  withPrefix,
} from "../../src/mail/content.ts";
import { QueueError } from "../../src/mail/queue-error.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (content: Uint8Array) => new TextDecoder().decode(content);

function source(chunks: readonly string[], size?: number): SourceBody {
  const all = concatBytes(chunks.map(bytes));
  return {
    kind: "source",
    size: size ?? all.length,
    head: all.subarray(0, HEAD_BYTES_MAX),
    async *stream() {
      for (const chunk of chunks) yield bytes(chunk);
    },
  };
}

async function chunksOf(content: Content): Promise<string[]> {
  const chunks: string[] = [];
  for await (const chunk of contentChunks(content)) chunks.push(text(chunk));
  return chunks;
}

test("content in memory is not copied without a prefix", async () => {
  const message = bytes("A: b\r\n\r\nbody\r\n");
  const content = bytesContent(message);
  expect(contentSize(content)).toBe(message.length);
  expect(contentHead(content)).toBe(message);
  expect(await readContent(content, message.length)).toBe(message);
});

test("a prefix goes on top of what is on top already and shares the body", async () => {
  const content = bytesContent(bytes("C: 3\r\n\r\n"));
  const topped = withPrefix(withPrefix(content, bytes("B: 2\r\n")), bytes("A: 1\r\n"));
  expect(topped.body).toBe(content.body);
  expect(text(contentHead(topped))).toBe("A: 1\r\nB: 2\r\nC: 3\r\n\r\n");
  expect(contentSize(topped)).toBe(20);
  expect(await chunksOf(topped)).toEqual(["A: 1\r\nB: 2\r\n", "C: 3\r\n\r\n"]);
});

test("a streamed body is read as often as asked", async () => {
  const content = withPrefix(bodyContent(source(["B: 2\r\n", "\r\n", "body"])), bytes("A: 1\r\n"));
  expect(bodySize(content.body)).toBe(12);
  expect(await chunksOf(content)).toEqual(["A: 1\r\n", "B: 2\r\n", "\r\n", "body"]);
  expect(text(await readContent(content, 18))).toBe("A: 1\r\nB: 2\r\n\r\nbody");
});

test("the head is bounded", () => {
  const content = bytesContent(new Uint8Array(HEAD_BYTES_MAX + 1));
  expect(bodyHead(content.body).length).toBe(HEAD_BYTES_MAX);
  expect(contentHead(withPrefix(content, bytes("A: 1\r\n"))).length).toBe(HEAD_BYTES_MAX + 6);
});

test("nothing is read of content that is larger than allowed", async () => {
  let reads = 0;
  const body: SourceBody = {
    ...source(["12345"]),
    async *stream() {
      reads += 1;
      yield bytes("12345");
    },
  };
  await expect(readContent(bodyContent(body), 4)).rejects.toBeInstanceOf(QueueError);
  expect(reads).toBe(0);
  expect((await readContent(bodyContent(body), 5)).length).toBe(5);
});

test("a body that is not as long as it says is an error, not a shorter message", async () => {
  const short = bodyContent(source(["1234"], 5));
  const long = bodyContent(source(["1234", "56", "78"], 5));
  await expect(readContent(short, 100)).rejects.toBeInstanceOf(QueueError);
  await expect(readContent(long, 100)).rejects.toBeInstanceOf(QueueError);
});

test("joining leaves a single piece alone", () => {
  const piece = bytes("x");
  expect(concatBytes([new Uint8Array(), piece])).toBe(piece);
  expect(concatBytes([]).length).toBe(0);
  expect(text(concatBytes([piece, bytes("yz"), piece]))).toBe("xyzx");
});
