import type { ReadFile } from "./layers.ts";
import { type Endpoint, formatHostPort, isLoopback } from "./network.ts";
import type { Issue } from "./origin.ts";
import type { ConfigValues } from "./schema.ts";

/** What a rule finds wrong: a setting and why. */
export type Complaint = Pick<Issue, "path" | "message">;

/** A rule about settings that are right one by one and wrong together. */
export interface Rule {
  /** It is asked only when each of these could be read. */
  readonly about: readonly string[];
  readonly check: (values: ConfigValues, readFile: ReadFile) => readonly Complaint[];
}

/** What must hold between settings. */
export const rules: readonly Rule[] = [
  { about: ["admin.listen", "admin.token"], check: adminNeedsToken },
  { about: ["smtp.trust"], check: notOpenRelay },
  { about: ["smtp.tls.cert_file", "smtp.tls.key_file"], check: certificateWhole },
  { about: ["smtp.tls.listen", "smtp.tls.cert_file"], check: tlsNeedsCertificate },
  { about: ["relay.username", "relay.password"], check: loginWhole },
  { about: ["relay.to", "relay.username"], check: loginNeedsHost },
  { about: ["smtp.listen", "smtp.tls.listen", "admin.listen"], check: listenOnce },
];

function adminNeedsToken({ admin }: ConfigValues): Complaint[] {
  if (admin.token !== null) return [];
  return admin.listen.filter(reachable).map((endpoint) => {
    const message = `${nameOf(endpoint)} can be reached from other hosts, which needs an admin.token`;
    return { path: "admin.listen", message };
  });
}

function notOpenRelay({ smtp }: ConfigValues): Complaint[] {
  return smtp.trust
    .filter((network) => network.endsWith("/0"))
    .map((network) => ({
      path: "smtp.trust",
      message: `${network} is everybody: this would be an open relay`,
    }));
}

function certificateWhole({ smtp }: ConfigValues, readFile: ReadFile): Complaint[] {
  const files = { cert_file: smtp.tls.cert_file, key_file: smtp.tls.key_file };
  const given = Object.entries(files).filter(([, file]) => file !== null);
  if (given.length === 1) {
    const missing = files.cert_file === null ? "cert_file" : "key_file";
    return [{ path: `smtp.tls.${missing}`, message: "a certificate and its key go together" }];
  }
  return given.flatMap(([key, file]) => {
    const wrong = wrongWithPem(file ?? "", readFile);
    return wrong === undefined ? [] : [{ path: `smtp.tls.${key}`, message: wrong }];
  });
}

function wrongWithPem(file: string, readFile: ReadFile): string | undefined {
  try {
    const text = readFile(file);
    if (text === undefined) return `cannot read ${file}: no such file`;
    return text.includes("-----BEGIN ") ? undefined : `${file} is not in PEM format`;
  } catch (error) {
    return `cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function tlsNeedsCertificate({ smtp }: ConfigValues): Complaint[] {
  if (smtp.tls.listen.length === 0 || smtp.tls.cert_file !== null) return [];
  return [{ path: "smtp.tls.listen", message: "needs smtp.tls.cert_file and smtp.tls.key_file" }];
}

function loginWhole({ relay }: ConfigValues): Complaint[] {
  if ((relay.username === null) === (relay.password === null)) return [];
  const missing = relay.username === null ? "username" : "password";
  return [{ path: `relay.${missing}`, message: "a username and its password go together" }];
}

function loginNeedsHost({ relay }: ConfigValues): Complaint[] {
  if (relay.username === null || relay.to.kind !== "mx") return [];
  const message = "a login is for the hosts of relay.to, and relay.to is mx";
  return [{ path: "relay.username", message }];
}

function listenOnce({ smtp, admin }: ConfigValues): Complaint[] {
  const named = [
    ...smtp.listen.map((at) => ({ path: "smtp.listen", name: formatHostPort(at), port: at.port })),
    ...smtp.tls.listen.map((at) => {
      return { path: "smtp.tls.listen", name: formatHostPort(at), port: at.port };
    }),
    ...admin.listen.map((at) => {
      return { path: "admin.listen", name: nameOf(at), port: at.kind === "tcp" ? at.port : 1 };
    }),
  ];
  // Port 0 is another one each time.
  const fixed = named.filter(({ port }) => port !== 0);
  const twice = fixed.filter(({ name }, index) => {
    return fixed.findIndex((other) => other.name === name) < index;
  });
  return twice.map(({ path, name }) => ({ path, message: `${name} is listed twice` }));
}

function reachable(endpoint: Endpoint): boolean {
  return endpoint.kind === "tcp" && !isLoopback(endpoint.host);
}

function nameOf(endpoint: Endpoint): string {
  return endpoint.kind === "unix" ? endpoint.path : formatHostPort(endpoint);
}
