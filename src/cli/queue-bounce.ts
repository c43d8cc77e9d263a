import { queueVerb } from "./queue-verb.ts";

export const queueBounce = queueVerb({
  verb: "bounce",
  done: "bounced",
  summary: "give messages up and tell their senders",
  details: "As if their lifetime were over.",
});
