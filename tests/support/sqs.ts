import type { AddressInfo } from "node:net";
import { buildApp } from "fauxqs";
import { type HttpFaults, startHttpFaults } from "./http-faults.ts";

/** A server of SQS in this process, behind a proxy that can lose, repeat and refuse. */
export interface SqsServer extends AsyncDisposable {
  readonly endpoint: string;
  readonly faults: HttpFaults;
  /** Makes an empty queue and gives its URL, which names a host that is none. */
  queue(name: string): Promise<string>;
  /** Bodies of the messages that nobody has received. */
  waiting(queueUrl: string): Promise<number>;
  /** Puts a message there as it is. */
  send(queueUrl: string, body: string): Promise<void>;
}

export async function startSqs(): Promise<SqsServer> {
  const app = buildApp({ logger: false });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const own = `http://127.0.0.1:${port}`;
  const faults = await startHttpFaults(own);
  const call = async (action: string, fields: object): Promise<Record<string, unknown>> => {
    const headers = {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": `AmazonSQS.${action}`,
    };
    const answer = await fetch(own, { method: "POST", headers, body: JSON.stringify(fields) });
    if (!answer.ok) throw new Error(`${action}: ${await answer.text()}`);
    const text = await answer.text();
    return text === "" ? {} : JSON.parse(text);
  };
  return {
    endpoint: faults.endpoint,
    faults,
    queue: async (name) => String((await call("CreateQueue", { QueueName: name })).QueueUrl),
    async waiting(QueueUrl) {
      const asked = { QueueUrl, AttributeNames: ["ApproximateNumberOfMessages"] };
      const { Attributes } = await call("GetQueueAttributes", asked);
      return Number((Attributes as Record<string, string>).ApproximateNumberOfMessages);
    },
    send: async (QueueUrl, MessageBody) =>
      void (await call("SendMessage", { QueueUrl, MessageBody })),
    async [Symbol.asyncDispose]() {
      await faults[Symbol.asyncDispose]();
      app.server.closeAllConnections();
      await app.close();
    },
  };
}
