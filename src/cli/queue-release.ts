import { queueVerb } from "./queue-verb.ts";

export const queueRelease = queueVerb({
  verb: "release",
  done: "released",
  summary: "let messages go that were on hold",
  details: "They are due at once.",
});
