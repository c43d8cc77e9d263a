import type { Client, DsnRequest, Notify } from "../../mail/envelope.ts";
import { NotImported, safeAddress } from "../imported.ts";

/** The envelope of a queue file, as `postcat -e` tells of it. */
export interface PostfixEnvelope {
  /** Milliseconds, to the second. */
  readonly arrivedAt: number;
  readonly sender: string;
  /** In the order of the file; `done`: delivered or bounced. */
  readonly recipients: readonly PostfixRecipient[];
  readonly client: Client;
  readonly dsn: DsnRequest;
  readonly eightBit: boolean;
}

export interface PostfixRecipient {
  readonly address: string;
  readonly done: boolean;
  readonly notify?: readonly Notify[];
  readonly orcpt?: string;
}

const NOTIFY: readonly (readonly [bit: number, name: Notify])[] = [
  [1, "NEVER"],
  [2, "SUCCESS"],
  [4, "FAILURE"],
  [8, "DELAY"],
];
const LINE = /^(?<name>[a-z_]+): ?(?<value>.*)$/su;

/** What stands in front of a recipient and is about that one. */
interface AboutNext {
  notify?: readonly Notify[];
  orcpt?: string;
}

/** Reads what `postcat -e` prints with its times in UTC. Throws `NotImported` when that is no envelope. */
export function readPostfixEnvelope(bytes: Uint8Array): PostfixEnvelope {
  const facts = new Map<string, string>();
  const recipients: PostfixRecipient[] = [];
  let next: AboutNext = {};
  for (const line of textOf(bytes).split("\n")) {
    const { name = "", value = "" } = LINE.exec(line)?.groups ?? {};
    if (name === "recipient" || name === "done_recipient") {
      recipients.push({ address: safeAddress(value), done: name !== "recipient", ...next });
      next = {};
    } else if (name === "named_attribute") {
      next = noted(value, next, facts);
    } else if (name !== "" && !facts.has(name)) facts.set(name, value);
  }
  return envelopeOf(facts, recipients);
}

function noted(attribute: string, next: AboutNext, facts: Map<string, string>): AboutNext {
  const equals = attribute.indexOf("=");
  const [name, value] = [attribute.slice(0, equals), attribute.slice(equals + 1)];
  if (name === "dsn_orig_rcpt") return { ...next, orcpt: value };
  if (name === "notify_flags") {
    const flags = Number(value);
    const notify = NOTIFY.filter(([bit]) => (flags & bit) !== 0).map(([, word]) => word);
    return notify.length === 0 ? next : { ...next, notify };
  }
  facts.set(`=${name}`, value);
  return next;
}

function envelopeOf(
  facts: ReadonlyMap<string, string>,
  recipients: readonly PostfixRecipient[],
): PostfixEnvelope {
  const sender = facts.get("sender");
  const arrivedAt = Date.parse(`${facts.get("message_arrival_time")} UTC`);
  if (sender === undefined || !Number.isFinite(arrivedAt)) {
    throw new NotImported("its envelope is not whole");
  }
  if (recipients.length === 0) throw new NotImported("it has no recipients");
  const envid = facts.get("=envelope_id");
  const ret = { "1": "FULL", "2": "HDRS" } as const;
  const flags = facts.get("=ret_flags");
  const isKnown = flags === "1" || flags === "2";
  return {
    arrivedAt,
    sender: safeAddress(sender),
    recipients,
    client: clientOf(facts),
    dsn: { ...(isKnown && { ret: ret[flags] }), ...(envid !== undefined && { envid }) },
    eightBit: facts.get("=encoding") === "8bit",
  };
}

/** Mail that a program on the same host handed in has no client. */
function clientOf(facts: ReadonlyMap<string, string>): Client {
  const fact = (name: string): string => facts.get(`=${name}`) ?? "";
  const auth = fact("sasl_username");
  return {
    ip: fact("client_address") || "127.0.0.1",
    host: fact("client_name") || "localhost",
    name: fact("helo_name") || "localhost",
    protocol: fact("protocol_name") || "LOCAL",
    ...(auth === "" ? {} : { auth }),
  };
}

/** Addresses are UTF-8 where the client asked for SMTPUTF8, and ASCII else. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new NotImported("its envelope is no text", { cause });
  }
}
