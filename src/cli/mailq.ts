import { printable } from "../mail/reply.ts";
import type { Message } from "./api.ts";

// What Postfix's mailq prints with long queue ids, so that what reads the one reads the other.

const ID_WIDTH = 17;
const SIZE_WIDTH = 8;
const TIME_WIDTH = 19;
/** Reasons end at this column. */
const REASON_WIDTH = 76;
const TEXT_LENGTH_MAX = 1000;
const MARKS: Readonly<Record<string, string>> = { active: "*", hold: "!" };

/** The first line. */
export function heading(): string {
  return row("----Queue ID-----", "--Size--", "----Arrival Time----", "--Sender/Recipient------");
}

/** One message: itself, then its recipients, each reason above those whom it concerns. */
export function listed(message: Message): string {
  const { id, state, size, sender } = message;
  const lines = [
    row(
      `${id}${MARKS[state] ?? ""}`,
      String(size),
      clockTime(message.received_at),
      mailbox(sender),
    ),
  ];
  let last = "";
  for (const { address, reason } of message.recipients) {
    if (reason && reason !== last) {
      const text = `(${printable(reason, TEXT_LENGTH_MAX)})`;
      lines.push(`${text.padStart(REASON_WIDTH + 2)}\n`);
    }
    last = reason ?? "";
    lines.push(row("", "", "", printable(address ?? "", TEXT_LENGTH_MAX)));
  }
  return lines.join("");
}

/** The last line. */
export function footer(count: number, bytes: number): string {
  const kilobytes = Math.floor(bytes / 1024);
  return `\n-- ${kilobytes} Kbytes in ${count} Request${count === 1 ? "" : "s"}.\n`;
}

/** One message as `postqueue -j` has it. */
export function listedJson(message: Message) {
  return {
    queue_name: message.state,
    queue_id: message.id,
    arrival_time: Math.floor(Date.parse(message.received_at) / 1000),
    message_size: message.size,
    forced_expire: false,
    sender: message.sender,
    recipients: message.recipients.map(({ address, reason }) => {
      return reason ? { address, delay_reason: reason } : { address };
    }),
  };
}

function row(id: string, size: string, time: string, address: string): string {
  const columns = [
    id.padEnd(ID_WIDTH),
    size.padStart(SIZE_WIDTH),
    time.padEnd(TIME_WIDTH),
    address,
  ];
  return `${columns.join(" ")}\n`;
}

function mailbox(sender: string): string {
  return sender === "" ? "MAILER-DAEMON" : printable(sender, TEXT_LENGTH_MAX);
}

/** `Sun Nov 22 01:35:40`, in the zone of whoever asks. */
function clockTime(instant: string): string {
  const date = new Date(instant);
  const [day = "", month = "", number = ""] = date.toDateString().split(" ");
  return `${day} ${month} ${String(Number(number)).padStart(2)} ${date.toTimeString().slice(0, 8)}`;
}
