import { queueVerb } from "./queue-verb.ts";

export const queueRetry = queueVerb({
  verb: "retry",
  done: "due now",
  summary: "try messages again now",
  details: "Messages on hold stay on hold.",
});
