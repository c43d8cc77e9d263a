import { printable, type Reply } from "../mail/reply.ts";
import type { Emit } from "../observe/events.ts";
import { clientOf, type Dialog, verbOf } from "./dialog.ts";

const COMMAND_MAX = 20;
const ADDRESS_MAX = 320;

/** The path of a MAIL or RCPT line, well-formed or not. */
const PATH = /^\w+ \w+: *<?([^> ]*)/u;

/** The verb of a command line as events may name it; the client wrote it. */
export function shownVerb(line: string): string {
  return printable(verbOf(line) || "UNKNOWN", COMMAND_MAX);
}

/** Tells that a command line, or what stands for it (`CONNECT`, `DATA`), was refused. */
export function tellRefused(emit: Emit, dialog: Dialog, reply: Reply, line: string): void {
  const command = shownVerb(line);
  const path = printable(PATH.exec(line)?.[1] ?? "", ADDRESS_MAX);
  const sender = command === "MAIL" ? path : dialog.transaction?.mail.sender;
  emit({
    kind: "refused",
    client: clientOf(dialog),
    command,
    reply,
    ...(sender !== undefined && { sender }),
    ...(command === "RCPT" && { recipient: path }),
  });
}
