import type { Envelope } from "../../src/mail/envelope.ts";

/** What a notification says, read as its reader would. */
export interface Report {
  readonly action: string;
  readonly recipients: readonly string[];
}

const decoder = new TextDecoder();

/** `undefined` for what is no notification. */
export function readReport({ sender, client, content }: Envelope): Report | undefined {
  if (sender !== "" || client.protocol !== "LOCAL" || content.body.kind !== "bytes")
    return undefined;
  const text = decoder.decode(content.body.bytes);
  const recipients = [...text.matchAll(/^Final-Recipient: rfc822; (.*)\r$/gmu)].map(
    ([, address = ""]) => address,
  );
  const action = /^Action: (.*)\r$/mu.exec(text)?.[1] ?? "";
  return { action, recipients };
}
