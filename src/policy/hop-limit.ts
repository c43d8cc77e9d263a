import { headerOf } from "../mail/header.ts";
import { QueueError } from "../mail/queue-error.ts";
import { reply } from "../mail/reply.ts";
import type { Policy } from "./policy.ts";

const LOOP = reply(554, "5.4.6", "Routing loop detected -- too many Received: headers");

/** Refuses a message that came over more than `hopsMax` hops (RFC 5321 §6.3). */
export function hopLimit(hopsMax: number): Policy {
  return ({ content }) => {
    const hops = headerOf(content).receivedCount;
    if (hops > hopsMax) throw new QueueError(`message came over ${hops} hops`, { reply: LOOP });
    return null;
  };
}
