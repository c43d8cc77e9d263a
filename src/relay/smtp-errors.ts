import type { SessionFailure } from "./peer-failure.ts";
import type { Credentials } from "./smtp-session.ts";

/** The system's name for what happened, such as ECONNREFUSED. */
export function codeOf(error: unknown): string {
  const { code, originalCode } = error as { code?: unknown; originalCode?: unknown };
  return String(originalCode ?? code ?? "connection failed");
}

const UNVERIFIED = /CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/u;

/** Whether an error comes out of the TLS library. */
export function isTlsError(error: unknown): boolean {
  const code = codeOf(error);
  return code.startsWith("ERR_SSL") || code.startsWith("ERR_TLS") || UNVERIFIED.test(code);
}

/** What an error around the handshake means: a certificate that is not to be trusted, or anything else. */
export function tlsFailure(error: unknown): SessionFailure {
  const code = codeOf(error);
  const detail = error instanceof Error ? error.message : code;
  return { kind: "tls", reason: UNVERIFIED.test(code) ? "unverified" : "handshake", detail };
}

/** A peer may repeat what it was told, and its words go into logs and notices. */
export function withoutSecrets(said: string, { user, password }: Credentials): string {
  const encoded = [password, `\0${user}\0${password}`].map((secret) =>
    Buffer.from(secret).toString("base64"),
  );
  return [password, ...encoded].reduce(
    (text, secret) => (secret === "" ? text : text.replaceAll(secret, "[secret]")),
    said,
  );
}
