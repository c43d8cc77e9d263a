import { readFileSync } from "node:fs";
import type { Clock } from "../../../lib/world.ts";
import { StoreConfigError } from "../../store-config-error.ts";
import { ask, type Environment, type Provider, readCredentials } from "./provider.ts";

/** Where Amazon's container service answers. */
const RELATIVE_TO = "http://169.254.170.2";
/** Hosts that may be told the token by plain HTTP: this machine, and addresses that never leave it. */
const NEAR = /^(?:127\.\d+\.\d+\.\d+|\[::1\]|localhost|169\.254\.170\.(?:2|23)|\[fd00:ec2::23\])$/u;
const LIMIT_MS = 2000;

/** Credentials of the container that this process runs in, as its platform serves them. */
export function containerProvider(env: Environment, clock: Clock): Provider {
  return {
    name: "the container's endpoint (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI)",
    async load() {
      const url = urlOf(env);
      if (url === undefined) return undefined;
      const token = tokenOf(env);
      const headers = { ...(token !== undefined && { authorization: token }) };
      const answer = await ask(clock, { url, headers, limitMs: LIMIT_MS });
      return readCredentials("the container's endpoint", answer);
    },
  };
}

function urlOf(env: Environment): string | undefined {
  const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: path } = env;
  if (path) return `${RELATIVE_TO}${path}`;
  const { AWS_CONTAINER_CREDENTIALS_FULL_URI: full } = env;
  if (!full) return undefined;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  const isSafe =
    url?.protocol === "https:" || (url?.protocol === "http:" && NEAR.test(url.hostname));
  if (isSafe) return full;
  throw new StoreConfigError(
    "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither an https: URL nor one of this machine",
  );
}

/** Read each time: such files are replaced. */
function tokenOf(env: Environment): string | undefined {
  const { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file, AWS_CONTAINER_AUTHORIZATION_TOKEN: token } =
    env;
  const text = file ? readFileSync(file, "utf8").trim() : token;
  if (text && /[\r\n]/u.test(text)) {
    throw new StoreConfigError("the container's authorization token is more than a line");
  }
  return text || undefined;
}
