import { queueVerb } from "./queue-verb.ts";

export const queueRemove = queueVerb({
  verb: "remove",
  done: "removed",
  summary: "drop messages for good, without telling anybody",
  details: "Nothing brings them back.",
});
