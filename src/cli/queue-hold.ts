import { queueVerb } from "./queue-verb.ts";

export const queueHold = queueVerb({
  verb: "hold",
  done: "held",
  summary: "keep messages without trying them",
  details: "They wait until they are released; their lifetime goes on.",
});
