import { createSocket } from "node:dgram";
import { type Answer, decode, encode } from "dns-packet";

/** What a name server says to one question: records, none at all, that there is no such name, or nothing. */
export type Said = readonly Answer[] | "no-name" | "silence";

/** A DNS server of this process. */
export interface NameServer extends AsyncDisposable {
  readonly port: number;
  /** Questions so far. */
  asked(): number;
}

/** Authoritative answer, recursion desired and available. */
const FLAGS = 0x0580;
const NO_NAME = 3;

/** Answers over UDP on 127.0.0.1, as `zone` says. */
export async function nameServer(zone: (name: string, type: string) => Said): Promise<NameServer> {
  const socket = createSocket("udp4");
  let asked = 0;
  socket.on("message", (data, from) => {
    asked += 1;
    const query = decode(data);
    const [question] = query.questions ?? [];
    const said = question ? zone(question.name.toLowerCase(), question.type) : "silence";
    if (said === "silence") return;
    const packet = {
      type: "response" as const,
      id: query.id ?? 0,
      flags: FLAGS | (said === "no-name" ? NO_NAME : 0),
      questions: query.questions ?? [],
      answers: said === "no-name" ? [] : [...said],
    };
    socket.send(encode(packet), from.port, from.address);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(0, "127.0.0.1", resolve);
  });
  return {
    port: socket.address().port,
    asked: () => asked,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(() => resolve())),
  };
}
