import type { Clock } from "../../../lib/world.ts";
import { AskError, ask, type Environment, type Provider, readCredentials } from "./provider.ts";

const ENDPOINT = "http://169.254.169.254";
const ROLES = "/latest/meta-data/iam/security-credentials/";
const TOKEN_SECONDS = "21600";
/** Where there is no such endpoint nobody answers, and a start waits for that. */
const LIMIT_MS = 1000;
/** Statuses of such a service that does not know the machine, or was switched off. */
const NOTHING = new Set([0, 403, 404, 405]);

/** Credentials of the machine's role, as its instance metadata service (version 2) tells them. */
export function instanceProvider(env: Environment, clock: Clock): Provider {
  const base = (env.AWS_EC2_METADATA_SERVICE_ENDPOINT || ENDPOINT).replace(/\/$/u, "");
  let isThere = false;
  return {
    name: `the machine's own endpoint (${base})`,
    async load() {
      if (env.AWS_EC2_METADATA_DISABLED?.toLowerCase() === "true") return undefined;
      try {
        const answer = await askForRole(base, clock);
        isThere = true;
        return readCredentials("the machine's own endpoint", answer);
      } catch (error) {
        // Nobody is there, or nobody gave the machine a role. Once it had one, that is trouble.
        const isNothing = error instanceof AskError && NOTHING.has(error.status);
        if (isNothing && !isThere) return undefined;
        throw error;
      }
    },
  };
}

async function askForRole(base: string, clock: Clock): Promise<string> {
  const limitMs = LIMIT_MS;
  const lasting = { "x-aws-ec2-metadata-token-ttl-seconds": TOKEN_SECONDS };
  const tokenUrl = `${base}/latest/api/token`;
  const token = await ask(clock, { url: tokenUrl, method: "PUT", headers: lasting, limitMs });
  const headers = { "x-aws-ec2-metadata-token": token };
  const roles = await ask(clock, { url: `${base}${ROLES}`, headers, limitMs });
  const role = encodeURIComponent(roles.split("\n")[0]?.trim() ?? "");
  return await ask(clock, { url: `${base}${ROLES}${role}`, headers, limitMs });
}
