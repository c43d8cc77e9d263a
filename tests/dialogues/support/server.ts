import { edgeOptions } from "../../../src/app/edges.ts";
import type { Accept } from "../../../src/edge/accept.ts";
import { SmtpSession } from "../../../src/edge/session.ts";
import { openSmtpEdge, type TlsMaterial } from "../../../src/edge/smtp.ts";
import { realWorld } from "../../../src/lib/world.ts";
import type { Envelope } from "../../../src/mail/envelope.ts";
import { QueueError } from "../../../src/mail/queue-error.ts";
import { parseReply } from "../../../src/mail/reply.ts";
import { encodeOrcpt, encodeXtext } from "../../../src/mail/xtext.ts";
import { loaded } from "../../config/help.ts";
import { contentOf, type TestDoor, testDoor } from "../../edge/edge-fixture.ts";
import { ear, type Line, socketLine } from "./line.ts";
import type { Script } from "./script.ts";

/** The edge as a dialogue wants it, with a queue that keeps what it is given. */
export interface DialogueServer extends AsyncDisposable {
  dial(): Line;
  /** Each message that was accepted, as `Q:` and its content as octets in Latin-1. */
  queued(): Promise<readonly { readonly envelope: string; readonly content: string }[]>;
}

const FIXED = ["smtp.hostname=mx.example.org", "smtp.size_max=1MiB"];

/** The edge on a port of loopback, set up as the daemon would from the same settings. */
export async function listeningServer(
  script: Script,
  tls: TlsMaterial | undefined,
): Promise<DialogueServer> {
  const door = doorOf(script);
  const edge = await openSmtpEdge(
    { ...edgeOptions(configOf(script), tls), listen: LOOPBACK, implicitTls: false },
    door,
    { emit: () => undefined, world: realWorld },
  );
  return {
    dial: () => socketLine(edge.address.port),
    queued: () => queuedIn(door),
    [Symbol.asyncDispose]: () => edge.close(),
  };
}

const LOOPBACK = { host: "127.0.0.1", port: 0 };

/** A session without a socket: whatever is sent arrives exactly in the pieces in which it was sent. */
export function sessionServer(script: Script): DialogueServer {
  const door = doorOf(script);
  return {
    dial: () => sessionLine(script, door),
    queued: () => queuedIn(door),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function sessionLine(script: Script, door: TestDoor): Line {
  const heard = ear();
  const session = new SmtpSession(
    { ...edgeOptions(configOf(script), undefined), listener: "test" },
    {
      wire: {
        write: (text) => {
          heard.push(text);
          return true;
        },
        pause: () => undefined,
        resume: () => undefined,
        startTls: () => undefined,
        end: heard.close,
        destroy: heard.close,
      },
      door,
      emit: () => undefined,
      world: realWorld,
      ip: "127.0.0.1",
      trusted: configOf(script).smtp.trust.includes("127.0.0.0/8"),
      tls: undefined,
      hasCertificate: () => false,
    },
  );
  session.open();
  return {
    send: (bytes) => Promise.resolve(session.receive(bytes)),
    hear: heard.hear,
    startTls: () => Promise.reject(new Error("no TLS without a socket")),
    end: () => session.inputEnded(),
    drop: () => session.gone(),
  };
}

function configOf({ settings }: Script) {
  return loaded({ set: [...FIXED, ...settings] }).config;
}

function doorOf({ door: { refuses, answers } }: Script): TestDoor {
  const refusing: Accept = () => {
    const reply = parseReply(Number(answers?.slice(0, 3)), answers ?? "");
    return Promise.reject(new QueueError("as the dialogue says", { reply }));
  };
  return testDoor({
    refusal: () => refuses,
    ...(answers === undefined ? {} : { accept: refusing }),
  });
}

async function queuedIn(door: TestDoor) {
  return await Promise.all(
    door.envelopes.map(async (envelope) => ({
      envelope: shown(envelope),
      content: await contentOf(envelope),
    })),
  );
}

/** An envelope as the commands that would make it. */
function shown({ sender, recipients, dsn, eightBit, smtpUtf8 }: Envelope): string {
  const mail = [
    `MAIL FROM:<${sender}>`,
    eightBit && "BODY=8BITMIME",
    smtpUtf8 && "SMTPUTF8",
    dsn.ret !== undefined && `RET=${dsn.ret}`,
    dsn.envid !== undefined && `ENVID=${encodeXtext(dsn.envid)}`,
  ];
  const rcpts = recipients.flatMap(({ address, notify, orcpt }) => [
    `RCPT TO:<${address}>`,
    notify !== undefined && `NOTIFY=${notify.join(",")}`,
    orcpt !== undefined && `ORCPT=${encodeOrcpt(orcpt)}`,
  ]);
  return [...mail, ...rcpts].filter((part) => part !== false).join(" ");
}
