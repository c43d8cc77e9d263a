import { connect, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { connect as connectTls } from "node:tls";
import type { FrontDoor } from "../../src/edge/accept.ts";
import { LOOPBACK_NETWORKS } from "../../src/edge/networks.ts";
import { openSmtpEdge, type SmtpEdge, type SmtpEdgeOptions } from "../../src/edge/smtp.ts";
import { realWorld, type World } from "../../src/lib/world.ts";
import type { BodySink, SourceBody } from "../../src/mail/content.ts";
import type { Envelope } from "../../src/mail/envelope.ts";
import { joined } from "../../src/mail/line-endings.ts";
import type { Event } from "../../src/observe/events.ts";

export const KIB = 1024;

export const OPTIONS: SmtpEdgeOptions = {
  listen: { host: "127.0.0.1", port: 0 },
  tls: undefined,
  implicitTls: false,
  trustedNetworks: LOOPBACK_NETWORKS,
  connectionsMax: 100,
  connectionsPerIpMax: 50,
  hostname: "mx.example.org",
  messageBytesMax: 1024 * KIB,
  headerBytesMax: 32 * KIB,
  spillBytes: 64 * KIB,
  bareLineEnds: "normalise",
  nulBytes: "accept",
  recipientsMax: 1000,
  errorsMax: 20,
  greetingPauseMs: 0,
  commandTimeoutMs: 60_000,
  dataTimeoutMs: 60_000,
};

/** A door that keeps what it is given, and whose sinks can be counted. */
export interface TestDoor extends FrontDoor {
  readonly envelopes: Envelope[];
  readonly sinks: { opened: number; ended: number; discarded: number; written: number };
}

export function testDoor(overrides: Partial<FrontDoor> = {}): TestDoor {
  const envelopes: Envelope[] = [];
  const sinks = { opened: 0, ended: 0, discarded: 0, written: 0 };
  return {
    envelopes,
    sinks,
    accept: (envelope) => {
      envelopes.push(envelope);
      return Promise.resolve([`ID${envelopes.length}`]);
    },
    openBody: () => {
      sinks.opened += 1;
      return Promise.resolve(memorySink(sinks));
    },
    refusal: () => undefined,
    ...overrides,
  };
}

function memorySink(sinks: TestDoor["sinks"]): BodySink {
  const chunks: Uint8Array[] = [];
  return {
    async write(chunk) {
      chunks.push(chunk.slice());
      sinks.written += chunk.length;
    },
    async end(): Promise<SourceBody> {
      sinks.ended += 1;
      const bytes = joined(chunks);
      const stream = async function* () {
        yield bytes;
      };
      return { kind: "source", size: bytes.length, head: bytes.subarray(0, 64 * KIB), stream };
    },
    async discard() {
      sinks.discarded += 1;
    },
  };
}

/** The content of an envelope as text, one character per octet. */
export async function contentOf(envelope: Envelope | undefined): Promise<string> {
  if (envelope === undefined) throw new Error("nothing was accepted");
  const { body } = envelope.content;
  if (body.kind === "bytes") return Buffer.from(body.bytes).toString("latin1");
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.stream()) chunks.push(chunk);
  return Buffer.concat(chunks).toString("latin1");
}

export interface TestEdge extends AsyncDisposable {
  readonly edge: SmtpEdge;
  readonly door: TestDoor;
  readonly events: Event[];
  readonly port: number;
  /** Resolves with the first event that agrees, past or future. */
  event(agrees: (event: Event) => boolean): Promise<Event>;
  dial(): Promise<Dialog>;
}

export async function startEdge(
  options: Partial<SmtpEdgeOptions> = {},
  door: TestDoor = testDoor(),
  world: World = realWorld,
): Promise<TestEdge> {
  const events: Event[] = [];
  const waiting = new Set<() => void>();
  const emit = (event: Event) => {
    events.push(event);
    for (const look of waiting) look();
  };
  const edge = await openSmtpEdge({ ...OPTIONS, ...options }, door, { emit, world });
  const { port } = edge.address;
  return {
    edge,
    door,
    events,
    port,
    event: (agrees) =>
      new Promise((resolve) => {
        const look = () => {
          const found = events.find(agrees);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    dial: () => dial(port),
    [Symbol.asyncDispose]: () => edge.close(),
  };
}

/** A client that says lines and reads replies. */
export interface Dialog {
  readonly socket: Socket | TLSSocket;
  send(bytes: string | Uint8Array): void;
  /** The next whole reply, all its lines joined by `|`; rejects when the connection ends first. */
  reply(): Promise<string>;
  /** Sends one line and reads one reply. */
  say(line: string): Promise<string>;
  /** EHLO, MAIL, RCPT and DATA; expects all to be accepted. */
  begin(): Promise<void>;
  /** Resolves when the server has closed; gives whatever it still said. */
  closed(): Promise<string>;
  startTls(): Promise<Dialog>;
}

export async function dial(port: number): Promise<Dialog> {
  const socket = connect({ port, host: "127.0.0.1" });
  const dialog = dialogOver(socket);
  await dialog.reply();
  return dialog;
}

export async function dialTls(port: number, cert: string): Promise<Dialog> {
  const socket = connectTls({ port, host: "127.0.0.1", ca: cert, servername: "localhost" });
  const dialog = dialogOver(socket);
  await dialog.reply();
  return dialog;
}

export function dialogOver(socket: Socket | TLSSocket): Dialog {
  let buffer = "";
  let isClosed = false;
  let wake: () => void = () => undefined;
  const onData = (chunk: Uint8Array) => {
    buffer += Buffer.from(chunk).toString("utf8");
    wake();
  };
  socket.on("data", onData);
  const onClose = () => {
    isClosed = true;
    wake();
  };
  socket.on("close", onClose);
  socket.on("end", onClose);
  socket.on("error", onClose);

  const news = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  const dialog: Dialog = {
    socket,
    send: (bytes) => {
      socket.write(typeof bytes === "string" ? Buffer.from(bytes, "utf8") : bytes);
    },
    async reply() {
      for (;;) {
        const match = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3} [^\r\n]*\r\n/u.exec(buffer);
        if (match !== null) {
          buffer = buffer.slice(match[0].length);
          return match[0].trimEnd().replaceAll("\r\n", "|");
        }
        if (isClosed) throw new Error(`closed, with ${JSON.stringify(buffer)}`);
        await news();
      }
    },
    say(line) {
      dialog.send(`${line}\r\n`);
      return dialog.reply();
    },
    async begin() {
      for (const line of [
        "EHLO client.example",
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<b@example.net>",
        "DATA",
      ]) {
        const reply = await dialog.say(line);
        if (!/^[23]/u.test(reply)) throw new Error(`${line}: ${reply}`);
      }
    },
    async closed() {
      while (!isClosed) await news();
      return buffer;
    },
    async startTls() {
      socket.removeAllListeners("data");
      const secure = connectTls({ socket, rejectUnauthorized: false });
      await new Promise((resolve, reject) => {
        secure.once("secureConnect", resolve);
        secure.once("error", reject);
      });
      return dialogOver(secure);
    },
  };
  return dialog;
}
