import { readFileSync } from "node:fs";
import type { Clock } from "../../../lib/world.ts";
import type { Credentials } from "./credentials.ts";
import { ask, credentialsOf, type Environment, type Provider } from "./provider.ts";
import { readXml, textOf, type XmlElement } from "./xml.ts";

const LIMIT_MS = 5000;

/** Credentials of a role, in exchange for a token that the platform keeps in a file (as Kubernetes does). */
export function webIdentityProvider(env: Environment, region: string, clock: Clock): Provider {
  const { AWS_WEB_IDENTITY_TOKEN_FILE: file, AWS_ROLE_ARN: role } = env;
  const endpoint = env.AWS_ENDPOINT_URL_STS || `https://sts.${region}.amazonaws.com`;
  return {
    name: "a web identity (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN)",
    async load() {
      if (!(file && role)) return undefined;
      const body = new URLSearchParams({
        Action: "AssumeRoleWithWebIdentity",
        Version: "2011-06-15",
        RoleArn: role,
        RoleSessionName: env.AWS_ROLE_SESSION_NAME || "slimta-queue",
        WebIdentityToken: readFileSync(file, "utf8").trim(),
      }).toString();
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      const asked = { url: `${endpoint}/`, headers, body, limitMs: LIMIT_MS } as const;
      const answer = readXml(await ask(clock, { ...asked, method: "POST" }));
      const credentials = credentialsIn(answer);
      if (credentials === undefined) throw new Error(`${endpoint} gave no credentials`);
      return credentials;
    },
  };
}

function credentialsIn(answer: XmlElement | undefined): Credentials | undefined {
  const result = childOf(answer, "AssumeRoleWithWebIdentityResult");
  const found = childOf(result, "Credentials");
  const names = ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"];
  return credentialsOf(names.map((name) => textOf(found, name)));
}

function childOf(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => child.name === name);
}
