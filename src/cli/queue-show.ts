import { terminalJson } from "../lib/json.ts";
import { exit } from "../lib/sysexits.ts";
import { headerEnd } from "../mail/header.ts";
import { printable } from "../mail/reply.ts";
import { type AdminClient, adminClient, NotFound, refusal } from "./admin-client.ts";
import { type Detail, detailSchema } from "./api.ts";
import { CliError, usageError } from "./cli-error.ts";
import type { Command } from "./command.ts";
import { withConfig } from "./configured.ts";
import { idsFrom } from "./ids.ts";
import type { CliParts, Writer } from "./parts.ts";

const TEXT_LENGTH_MAX = 1000;
/** How far a header is looked for. */
const HEADER_BYTES_MAX = 64 * 1024;

export const queueShow: Command = {
  name: "queue show",
  summary: "show one message: its state, its recipients, its content",
  usage: "ID [--headers | --raw | --json]",
  options: [
    { name: "headers", doc: "print the header of the message, fit for a terminal" },
    { name: "raw", doc: "print the message as it is stored" },
    { name: "json", doc: "print all that is known of it, as JSON" },
  ],
  configured: true,
  examples: [
    "slimta-queue queue show 1F6YH3Q2K0ABCDEF",
    "slimta-queue queue show 1F6YH3Q2K0ABCDEF --raw > message.eml",
  ],
  run: async (args, parts) => {
    const ids = await Array.fromAsync(idsFrom(args.positionals, parts.stdin));
    const [id] = ids;
    if (id === undefined || ids.length > 1) throw usageError("show which message? Give one id");
    return await withConfig(args, parts, async ({ config }) => {
      const client = adminClient(config, parts);
      try {
        if (args.has("raw")) await copyContent(client, id, parts);
        else if (args.has("headers")) await printHeader(client, id, parts);
        else await printDetail(client, id, args.has("json"), parts);
      } catch (error) {
        if (!(error instanceof NotFound)) throw error;
        throw new CliError(`${id}: no such message`, { code: exit.data, cause: error });
      }
      return exit.ok;
    });
  },
};

async function* contentOf(client: AdminClient, id: string): AsyncGenerator<Uint8Array> {
  const response = await client.raw("GET", `/v1/messages/${id}/content`);
  if (!response.ok) throw await refusal(response);
  if (response.body !== null) yield* response.body;
}

async function copyContent(client: AdminClient, id: string, { stdout }: CliParts): Promise<void> {
  for await (const chunk of contentOf(client, id)) await stdout.write(chunk);
}

async function printHeader(client: AdminClient, id: string, { stdout }: CliParts): Promise<void> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of contentOf(client, id)) {
    chunks.push(chunk);
    length += chunk.byteLength;
    if (length >= HEADER_BYTES_MAX) break;
  }
  const head = Buffer.concat(chunks);
  await stdout.write(withoutControls(head.subarray(0, headerEnd(head))));
}

/** A header for a terminal: `?` for each control character, C1 in UTF-8 too, and for a CR that ends no line. */
function withoutControls(header: Uint8Array): Uint8Array {
  return header.map((byte, at) =>
    isObeyed(byte, header[at - 1], header[at + 1]) ? QUESTION : byte,
  );
}

function isObeyed(byte: number, before = 0, after = 0): boolean {
  if (byte === CR) return after !== LF;
  if (byte < SPACE) return byte !== LF && byte !== TAB;
  // The second byte of U+0080 to U+009F; what is left of it is no character.
  return byte === DELETE || (before === C1_LEAD && byte >= 0x80 && byte < 0xa0);
}

const [TAB, LF, CR, SPACE, QUESTION, DELETE, C1_LEAD] = [0x09, 0x0a, 0x0d, 0x20, 0x3f, 0x7f, 0xc2];

async function printDetail(
  client: AdminClient,
  id: string,
  json: boolean,
  { stdout }: CliParts,
): Promise<void> {
  const path = `/v1/messages/${id}`;
  if (json) {
    const response = await client.raw("GET", path);
    if (!response.ok) throw await refusal(response);
    await stdout.write(`${terminalJson(await response.json(), 2)}\n`);
    return;
  }
  await describeTo(stdout, await client.call("GET", path, detailSchema));
}

async function describeTo(stdout: Writer, message: Detail): Promise<void> {
  const { client } = message;
  const from = client ? `${word(client.host)} [${word(client.ip)}], ${word(client.protocol)}` : "";
  const rows: readonly (readonly [string, string])[] = [
    ["id", message.id],
    ["state", message.state],
    ["from", `<${message.sender}>`],
    ["client", from],
    ["size", `${message.size} bytes`],
    ["received", message.received_at],
    ["attempts", String(message.attempts)],
    ["next", message.state === "hold" ? "when released" : (message.due_at ?? "")],
    ["held by", message.holder && `${message.holder} until ${message.leased_until ?? "?"}`],
    ["moving", message.moving ? `from ${message.moving.from} to ${message.moving.to}` : ""],
    ["expires", message.expires_at ?? ""],
    ...message.recipients.flatMap(recipientRows),
  ];
  const lines = rows
    .filter(([, value]) => value !== "")
    .map(([name, value]) => {
      return `${name.padEnd(9)} ${printable(value, TEXT_LENGTH_MAX)}\n`;
    });
  await stdout.write(lines.join(""));
}

function recipientRows(recipient: Detail["recipients"][number]): [string, string][] {
  const { address, status, reason, relay } = recipient;
  const through = relay ? ` by ${relay}` : "";
  return [
    ["to", `<${address}> ${status}${through}`],
    ["", reason ? `(${reason})` : ""],
  ];
}

function word(value: unknown): string {
  return typeof value === "string" ? value : "unknown";
}
