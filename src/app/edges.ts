import type { Config } from "../config/config.ts";
import type { FrontDoor } from "../edge/accept.ts";
import { openSmtpEdge, type SmtpEdge, type SmtpEdgeOptions } from "../edge/smtp.ts";
import type { World } from "../lib/world.ts";
import type { Emit } from "../observe/events.ts";
import { hostPort } from "./introduction.ts";
import { listeningOn } from "./start-error.ts";

/** Bad commands after which a session is ended. */
const ERRORS_MAX = 20;
/** RFC 5321 §4.5.3.2.5. */
const DATA_BLOCK_MS = 180_000;

export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
}

/** Opens every SMTP listener of the configuration, or none: whatever opened is closed when a later one cannot. */
export async function openEdges(
  config: Config,
  tls: TlsMaterial | undefined,
  door: FrontDoor,
  parts: { readonly emit: Emit; readonly world: World },
): Promise<readonly SmtpEdge[]> {
  const { smtp } = config;
  const plain = smtp.listen.map((listen) => ({ listen, implicitTls: false }));
  const implicit = smtp.tls.listen.map((listen) => ({ listen, implicitTls: true }));
  const opened: SmtpEdge[] = [];
  try {
    for (const { listen, implicitTls } of [...plain, ...implicit]) {
      const options = { ...edgeOptions(config, tls), listen, implicitTls };
      const open = () => openSmtpEdge(options, door, parts);
      opened.push(await listeningOn(`${hostPort(listen)} for SMTP`, open));
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map((edge) => edge.close()));
    throw error;
  }
}

/** What every SMTP listener of a configuration keeps to, wherever it listens. */
export function edgeOptions(
  { smtp }: Config,
  tls: TlsMaterial | undefined,
): Omit<SmtpEdgeOptions, "listen" | "implicitTls"> {
  return {
    tls,
    hostname: smtp.hostname,
    trustedNetworks: smtp.trust,
    connectionsMax: smtp.connectionsMax,
    connectionsPerIpMax: smtp.connectionsPerClientMax,
    recipientsMax: smtp.recipientsMax,
    errorsMax: ERRORS_MAX,
    greetingPauseMs: smtp.greetingPause,
    commandTimeoutMs: smtp.timeout,
    dataTimeoutMs: Math.min(smtp.timeout, DATA_BLOCK_MS),
    messageBytesMax: smtp.sizeMax,
    headerBytesMax: smtp.headerMax,
    spillBytes: smtp.spill,
    bareLineEnds: smtp.bareNewlines,
    nulBytes: "accept",
  };
}
