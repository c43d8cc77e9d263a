import type { Clock } from "../../../lib/world.ts";
import { QueueError } from "../../../mail/queue-error.ts";
import { StoreConfigError } from "../../store-config-error.ts";
import { containerProvider } from "./container.ts";
import { type CredentialSource, fixedCredentials } from "./credentials.ts";
import { instanceProvider } from "./instance.ts";
import { AskError, type Environment, type Provider } from "./provider.ts";
import { renewing } from "./renewing.ts";
import { fileProvider } from "./shared-files.ts";
import { webIdentityProvider } from "./web-identity.ts";

export interface CredentialOptions {
  /** What stands in front of the `@` of the URL. */
  readonly login: { readonly accessKeyId: string; readonly secretAccessKey: string } | undefined;
  readonly env: Environment;
  readonly region: string;
  readonly clock: Clock;
}

/**
 * Looks for credentials where Amazon's own programs do, in their order: the URL, the environment, a web identity, the shared
 * files, the container's endpoint, the machine's. Rejects with `StoreConfigError`, which lists these, when there are none.
 */
export async function findCredentials(options: CredentialOptions): Promise<CredentialSource> {
  const { login, env, region, clock } = options;
  if (login !== undefined) return fixedCredentials(login);
  const providers = [
    environmentProvider(env),
    webIdentityProvider(env, region, clock),
    fileProvider(env),
    containerProvider(env, clock),
    instanceProvider(env, clock),
  ];
  for (const provider of providers) {
    const found = await load(provider);
    if (found !== undefined) return renewing(found, () => provider.load(), clock);
  }
  const looked = ["the URL (s3://key:secret@...)", ...providers.map(({ name }) => name)];
  throw new StoreConfigError(`there are no credentials in ${looked.join(", ")}`);
}

async function load({ name, load: from }: Provider) {
  try {
    return await from();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const text = `cannot get credentials from ${name}: ${reason}`;
    const isPassing = error instanceof AskError && error.isPassing;
    throw isPassing ? new QueueError(text, { cause: error }) : new StoreConfigError(text);
  }
}

function environmentProvider(env: Environment): Provider {
  return {
    name: "the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
    async load() {
      const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
      const { AWS_SESSION_TOKEN: sessionToken } = env;
      if (!accessKeyId && !secretAccessKey) return undefined;
      if (!(accessKeyId && secretAccessKey)) throw new Error("one of the two is missing");
      return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
    },
  };
}
