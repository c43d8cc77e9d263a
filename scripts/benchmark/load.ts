import { connect } from "node:net";
import { startChild } from "../../tests/support/child.ts";

export interface Load {
  readonly port: number;
  readonly messages: number;
  readonly sessions: number;
  /** Octets of the message's body. */
  readonly bytes: number;
  /** Whether a session sends its messages over one connection, or each over one of its own. */
  readonly reuse: boolean;
  readonly to?: string;
}

const RECIPIENT = "recipient@example.com";

/** Sends with Postfix's smtp-source, and gives the seconds until the last message was accepted. */
export async function smtpSource(load: Load): Promise<number> {
  const { port, messages, sessions, bytes, reuse } = load;
  const addresses = ["-f", "sender@example.test", "-t", load.to ?? RECIPIENT];
  const amounts = ["-s", `${sessions}`, "-m", `${messages}`, "-l", `${bytes}`];
  const startedAt = performance.now();
  const child = startChild([
    "/usr/sbin/smtp-source",
    ...(reuse ? ["-d"] : []),
    ...addresses,
    ...amounts,
    `127.0.0.1:${port}`,
  ]);
  const code = await child.exited;
  if (code !== 0) throw new Error(`smtp-source ended with ${code}: ${child.output()}`);
  return (performance.now() - startedAt) / 1000;
}

/** Sends the same load from this process; for each message the milliseconds from its final dot to the 250. */
export async function finalDotLatencies(load: Load): Promise<readonly number[]> {
  const latencies: number[] = [];
  const message = Buffer.from(messageOf(load.bytes));
  let left = load.messages;
  const session = async () => {
    const client = await openClient(load.port);
    await client.say("EHLO bench.example.test\r\n");
    while (left > 0) {
      left -= 1;
      await client.say("MAIL FROM:<sender@example.test>\r\n");
      await client.say(`RCPT TO:<${RECIPIENT}>\r\n`);
      await client.say("DATA\r\n");
      latencies.push(await client.say(message));
    }
    await client.say("QUIT\r\n");
    client.end();
  };
  await Promise.all(Array.from({ length: load.sessions }, session));
  return latencies;
}

/** A message of about so many octets, final dot included. */
export function messageOf(bytes: number): string {
  const line = `${"X".repeat(78)}\r\n`;
  const body = line.repeat(Math.ceil(bytes / line.length)).slice(0, bytes - 2);
  const header = "From: sender@example.test\r\nTo: recipient@example.com\r\nSubject: bench\r\n\r\n";
  return `${header}${body}\r\n.\r\n`;
}

/** A client's connection. */
export interface Client {
  /**
   * Says a thing and waits for its reply; gives the milliseconds from the moment the last octet was written. Rejects when
   * that is a refusal, or the connection ends.
   */
  say(bytes: string | Uint8Array): Promise<number>;
  end(): void;
}

/** Connects, and waits for the greeting. */
export async function openClient(port: number): Promise<Client> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.setNoDelay(true);
  let waiting = Promise.withResolvers<void>();
  let received = "";
  let ended: Error | undefined;
  const fail = (error: Error) => {
    ended ??= error;
    waiting.reject(ended);
  };
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
    if (!/(?:^|\n)\d{3} [^\n]*\n$/u.test(received)) return;
    const reply = received;
    received = "";
    if (/^[23]/u.test(reply)) waiting.resolve();
    else waiting.reject(new Error(`refused: ${reply}`));
  });
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("connection closed")));
  await waiting.promise;
  return {
    async say(bytes) {
      if (ended) throw ended;
      waiting = Promise.withResolvers();
      let writtenAt = performance.now();
      socket.write(bytes, () => {
        writtenAt = performance.now();
      });
      await waiting.promise;
      return Math.max(0, performance.now() - writtenAt);
    },
    end: () => socket.end(),
  };
}
