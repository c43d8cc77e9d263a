import { randomInt } from "node:crypto";
import { connect } from "node:net";
import { type DecodedPacket, decode, encode, type Packet, RECURSION_DESIRED } from "dns-packet";
import type { Clock } from "../../lib/world.ts";
import { type QueryType, sameName } from "./answer.ts";
import type { DnsServer } from "./system-files.ts";

/** What fits into a packet on nearly every path without fragments (DNS flag day 2020). */
const UDP_BYTES_MAX = 1232;

const TRUNCATED = 0x0200;

export interface Question {
  readonly name: string;
  readonly type: QueryType;
}

/**
 * Asks one server once: over UDP with a random id from a random port, and over TCP when the response was truncated.
 * Resolves with the response to this very question, or with a word why there is none. Responses that do not fit are
 * ignored: somebody may be guessing (RFC 5452).
 */
export async function exchange(
  question: Question,
  server: DnsServer,
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<DecodedPacket | string> {
  const response = await limited(timeoutMs, clock, signal, (settle) =>
    overUdp(question, server, settle),
  );
  if (typeof response === "string" || ((response.flags ?? 0) & TRUNCATED) === 0) return response;
  return limited(timeoutMs, clock, signal, (settle) => overTcp(question, server, settle));
}

type Settle = (result: DecodedPacket | string) => void;

/** Runs one way of asking within a time limit; `start` returns how to stop it. */
function limited(
  timeoutMs: number,
  clock: Clock,
  signal: AbortSignal,
  start: (settle: Settle) => () => void,
): Promise<DecodedPacket | string> {
  return new Promise((resolve) => {
    let isSettled = false;
    const settle: Settle = (result) => {
      if (isSettled) return;
      isSettled = true;
      cancel();
      signal.removeEventListener("abort", abort);
      resolve(result);
      stop();
    };
    const abort = () => settle("closed");
    const cancel = clock.after(timeoutMs, () => settle("timed out"));
    signal.addEventListener("abort", abort);
    const stop = start(settle);
    if (signal.aborted) abort();
  });
}

function overUdp(question: Question, { ip, port }: DnsServer, settle: Settle): () => void {
  const { id, bytes } = queryFor(question);
  let isStopped = false;
  const opening = Bun.udpSocket({
    connect: { hostname: ip, port },
    socket: {
      data(_socket, data) {
        const packet = decodeFor(question, id, data);
        if (packet) settle(packet);
      },
      error(_socket, error) {
        settle(error.message);
      },
    },
  });
  opening.then(
    (socket) => {
      if (isStopped) socket.close();
      else socket.send(bytes);
    },
    (error: unknown) => settle(String(error)),
  );
  return () => {
    isStopped = true;
    opening.then(
      (socket) => socket.close(),
      () => undefined,
    );
  };
}

/** RFC 1035 §4.2.2: each message is preceded by its length in two octets. */
function overTcp(question: Question, { ip, port }: DnsServer, settle: Settle): () => void {
  const { id, bytes } = queryFor(question);
  const socket = connect({ host: ip, port });
  let received = Buffer.alloc(0);
  socket.on("connect", () => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    socket.write(Buffer.concat([length, bytes]));
  });
  socket.on("data", (chunk: Buffer) => {
    // No more than 64 KiB: the length has two octets, and the first message ends it.
    received = Buffer.concat([received, chunk]);
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
    const message = received.subarray(2, 2 + received.readUInt16BE(0));
    settle(decodeFor(question, id, message) ?? "malformed response");
  });
  socket.on("error", (error) => settle(error.message));
  socket.on("close", () => settle("connection closed"));
  return () => socket.destroy();
}

function queryFor({ name, type }: Question): { readonly id: number; readonly bytes: Buffer } {
  // Not from the world's dice: whoever can guess the id can answer in the server's place.
  const id = randomInt(0x10000);
  const packet: Packet = {
    type: "query",
    id,
    flags: RECURSION_DESIRED,
    questions: [{ type, name, class: "IN" }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: UDP_BYTES_MAX,
        flags: 0,
        options: [],
        extendedRcode: 0,
        ednsVersion: 0,
        flag_do: false,
      },
    ],
  };
  return { id, bytes: encode(packet) };
}

function decodeFor(question: Question, id: number, data: Buffer): DecodedPacket | undefined {
  try {
    const packet = decode(data);
    const asked = packet.questions?.[0];
    const fits =
      packet.id === id &&
      packet.type === "response" &&
      asked?.type === question.type &&
      sameName(asked.name, question.name);
    return fits ? packet : undefined;
  } catch {
    return undefined;
  }
}
