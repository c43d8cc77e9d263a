import { reply } from "../mail/reply.ts";
import type { Relay } from "./relay.ts";

/** Takes all mail and forgets it: for trying things out. */
export function openBlackholeRelay(): Relay {
  return {
    deliver: ({ id, envelope }) =>
      Promise.resolve(
        envelope.recipients.map(({ index }) => ({
          recipient: index,
          kind: "delivered",
          reply: reply(250, "2.0.0", `Message Delivered; ${id}`),
          setupMs: 0,
          transferMs: 0,
        })),
      ),
    destinationOf: () => "blackhole",
    stats: () => ({ open: 0, idle: 0 }),
    close: () => Promise.resolve(),
  };
}
