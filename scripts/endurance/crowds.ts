import { connect } from "node:net";
import { dialogOver, type SmtpDialog } from "../../tests/support/smtp-dialog.ts";

/** Many connections at once that were greeted, and how many were sent away instead. */
export interface Crowd extends AsyncDisposable {
  readonly members: readonly SmtpDialog[];
  /** Got a 421 in place of the greeting. */
  readonly refused: number;
  /** Were cut off without a word. */
  readonly broken: number;
  /**
   * Waits until the server has sent every member away, or for `timeoutMs`; gives the code of each one's last reply,
   * 0 for those that got none.
   */
  sentAway(timeoutMs: number): Promise<readonly number[]>;
}

/** Clients that send their message an octet at a time, and the rest of it when they are told to. */
export interface SlowSenders extends AsyncDisposable {
  readonly started: number;
  /** Sends one octet of each message. */
  dribble(): void;
  /** Sends the rest; gives how many messages were taken. */
  finish(): Promise<number>;
}

/** Opens connections all at once, from one address of loopback, and says nothing on them. */
export async function openCrowd(port: number, size: number, from = "127.0.0.1"): Promise<Crowd> {
  const opening = Array.from({ length: size }, () => open(port, from));
  const opened = (await Promise.all(opening)).filter((dialog) => dialog !== undefined);
  const members = opened.filter(({ greeting }) => greeting.code === 220);
  const refused = opened.filter(({ greeting }) => greeting.code === 421);
  for (const dialog of refused) dialog.drop();
  return {
    members,
    refused: refused.length,
    broken: size - opened.length,
    async sentAway(timeoutMs) {
      const code = (dialog: SmtpDialog) =>
        dialog.reply(timeoutMs).then(
          (reply) => reply.code,
          () => 0,
        );
      return await Promise.all(members.map(code));
    },
    async [Symbol.asyncDispose]() {
      for (const dialog of members) dialog.drop();
      await Promise.all(opened.map(({ closed }) => closed));
    },
  };
}

async function open(port: number, from: string): Promise<SmtpDialog | undefined> {
  try {
    return await dialogOver(connect({ host: "127.0.0.1", port, localAddress: from }));
  } catch {
    return undefined;
  }
}

/** Opens connections that are each in the middle of a message to `recipient`. */
export async function slowSenders(
  port: number,
  size: number,
  recipient: string,
): Promise<SlowSenders> {
  const crowd = await openCrowd(port, size);
  const begin = async (dialog: SmtpDialog): Promise<boolean> => {
    await dialog.say("EHLO slow.test");
    await dialog.say("MAIL FROM:<slow@sender.take.test>");
    await dialog.say(`RCPT TO:<${recipient}>`);
    return (await dialog.say("DATA")).code === 354;
  };
  const begun = await Promise.all(crowd.members.map(begin));
  const senders = crowd.members.filter((_, index) => begun[index]);
  for (const dialog of senders) dialog.write("Subject: slow\r\n\r\n");
  return {
    started: senders.length,
    dribble() {
      for (const dialog of senders) dialog.write("x");
    },
    async finish() {
      for (const dialog of senders) dialog.write("\r\n.\r\n");
      const codes = await crowd.sentAway(60_000);
      return codes.filter((code) => code === 250).length;
    },
    [Symbol.asyncDispose]: () => crowd[Symbol.asyncDispose](),
  };
}
