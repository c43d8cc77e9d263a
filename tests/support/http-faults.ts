import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TlsMaterial } from "../../src/edge/smtp.ts";

/** A proxy in front of a real HTTP server, which can go wrong in between. */
export interface HttpFaults extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, or `https:` */
  readonly endpoint: string;
  /** Requests in the order in which they came, as `PUT /bucket/key?query`, or `POST / ReceiveMessage` of SQS. */
  readonly seen: readonly string[];
  /** Does this to the next `times` requests that match, one rule after the other. */
  next(pattern: RegExp, fault: Fault, times?: number): void;
  /** No rule is left. */
  heal(): void;
}

export type Fault =
  /** Answered here: the server hears nothing of it. */
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** The connection breaks before the server hears of it, when it has done it, or in the middle of its answer. */
  | { readonly kind: "cut"; readonly when: "before" | "after" | "within" }
  /** The server hears it twice. */
  | { readonly kind: "repeat" }
  /** It waits for this before it goes on. */
  | { readonly kind: "hold"; readonly until: Promise<void> };

interface Rule {
  readonly pattern: RegExp;
  readonly fault: Fault;
  left: number;
}

/** An error as S3 says it. */
export function s3Error(status: number, code: string, more = ""): Fault {
  const text = `<Error><Code>${code}</Code><Message>so it is</Message>${more}</Error>`;
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n${text}`;
  return { kind: "answer", status, body, headers: { "content-type": "application/xml" } };
}

/**
 * Stands in front of `target`, which is told the name by which the client called the proxy: signatures hold it. With a
 * certificate it talks TLS to clients.
 */
export async function startHttpFaults(target: string, tls?: TlsMaterial): Promise<HttpFaults> {
  const seen: string[] = [];
  const rules: Rule[] = [];
  const listener = (asked: IncomingMessage, answer: ServerResponse): void => {
    handle(asked, answer).catch(() => asked.socket.destroy());
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer({ ...tls }, listener);

  async function handle(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const action = String(asked.headers["x-amz-target"] ?? "").replace("AmazonSQS.", " ");
    const what = `${asked.method} ${asked.url}${action}`;
    const body = await bytesOf(asked);
    seen.push(what);
    const rule = rules.find(({ pattern, left }) => left > 0 && pattern.test(what));
    const fault = rule?.fault;
    if (rule !== undefined) rule.left -= 1;
    if (fault?.kind === "answer") {
      answer.writeHead(fault.status, fault.headers).end(fault.body ?? "");
      return;
    }
    if (fault?.kind === "hold") await fault.until;
    if (fault?.kind === "cut" && fault.when === "before") return void asked.socket.destroy();
    if (fault?.kind === "repeat") await forward(target, asked, body);
    const { status, headers, bytes } = await forward(target, asked, body);
    if (fault?.kind !== "cut") return void answer.writeHead(status, headers).end(bytes);
    if (fault.when === "within") {
      answer.writeHead(status, headers);
      await new Promise<void>((done) =>
        answer.write(bytes.subarray(0, bytes.length / 2), () => done()),
      );
    }
    asked.socket.destroy();
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http${tls === undefined ? "" : "s"}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    next: (pattern, fault, times = 1) => void rules.push({ pattern, fault, left: times }),
    heal: () => void rules.splice(0),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function bytesOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function forward(target: string, asked: IncomingMessage, body: Buffer) {
  return new Promise<{
    readonly status: number;
    readonly headers: IncomingMessage["headers"];
    readonly bytes: Buffer;
  }>((resolve, reject) => {
    const options = { method: asked.method ?? "GET", headers: asked.headers, agent: false };
    const sent = request(`${target}${asked.url}`, options, (answer) => {
      bytesOf(answer)
        .then((bytes) =>
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, bytes }),
        )
        .catch(reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
