import type { World } from "../../lib/world.ts";
import type { Emit } from "../../observe/events.ts";
import { readCertificates } from "./aws/exchange.ts";
import { findCredentials } from "./aws/find-credentials.ts";
import type { Environment } from "./aws/provider.ts";
import { regionOf } from "./aws/shared-files.ts";
import type { StoreTraits } from "./s3/check-bucket.ts";
import { openS3, type S3Store } from "./s3/open-s3.ts";
import type { S3Limits } from "./s3/requests.ts";
import type { S3Address } from "./s3-url.ts";
import { openSqs } from "./sqs/open-sqs.ts";
import type { WakeUp } from "./wake-up.ts";

export interface ClientsOptions {
  readonly address: S3Address;
  /** What the process was started with: credentials and a region may stand there. */
  readonly env: Environment;
  /** The key of an object that is written and removed to see what the store can do. */
  readonly probeKey: string;
  readonly limits?: Partial<S3Limits>;
}

export interface ClientsParts {
  /** Real time: signatures hold the hour, and servers answer when they do. */
  readonly world: World;
  readonly emit: Emit;
}

export interface CloudClients {
  readonly store: S3Store;
  readonly traits: StoreTraits;
  /** `undefined` where there is no queue to wake others with. */
  readonly wakeUp: WakeUp | undefined;
}

/** Where nobody names a region; most stores that are not Amazon's do not care. */
const REGION = "us-east-1";

/**
 * Opens what a URL names, with the credentials that are found, and tries it out. Rejects with `StoreConfigError` when somebody
 * has to change something first, with `QueueError` when the store cannot be used at the moment.
 */
export async function openClients(
  { address, env, probeKey, limits }: ClientsOptions,
  { world, emit }: ClientsParts,
): Promise<CloudClients> {
  const { clock } = world;
  const region = address.region ?? regionOf(env) ?? REGION;
  const credentials = await findCredentials({ login: loginOf(address), env, region, clock });
  const ca = readCertificates(address.caFile);
  const place = {
    ...{ region, bucket: address.bucket, isPathStyle: address.isPathStyle },
    endpoint: address.endpoint ?? amazon("s3", region),
  };
  const store = openS3({ place, credentials, world, ca, ...(limits && { limits }) });
  const traits = await store.check(probeKey);
  if (address.sqs === null) return { store, traits, wakeUp: undefined };
  const wakeUp = await openSqs({
    ...{ queue: address.sqs, credentials, clock, ca, emit },
    ...sqsPlace(address.sqs, address.sqsEndpoint, region),
    now: () => clock.now() + store.clockDifferenceMs(),
  });
  return { store, traits, wakeUp };
}

function loginOf({ accessKeyId, secretAccessKey }: S3Address) {
  return accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined;
}

/** The URL of a queue says who has it and, if that is Amazon, in which region. */
function sqsPlace(queue: string, endpoint: string | null, region: string) {
  const host = URL.canParse(queue) ? new URL(queue).host : "";
  const named = /^sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/u.exec(host)?.[1];
  const own = host === "" ? amazon("sqs", region) : new URL(queue).origin;
  return { endpoint: endpoint ?? own, region: named ?? region };
}

function amazon(service: "s3" | "sqs", region: string): string {
  return `https://${service}.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
}
