import type { Clock } from "../../../lib/world.ts";
import { QueueError } from "../../../mail/queue-error.ts";
import { reply } from "../../../mail/reply.ts";
import type { CredentialSource, Credentials } from "./credentials.ts";

/** New ones are fetched this long before the old ones end; meanwhile the old ones serve. */
const AHEAD_MS = 5 * 60_000;
/** What ends sooner than this is not used any more. */
const LEAST_MS = 10_000;
/** After a failure nobody is asked again for this long; nor while those that serve are near their end, as some always are. */
const PAUSE_MS = 1000;

/** Keeps credentials that `load` gives, and fetches others before they end or when a server refuses them: once for all. */
export function renewing(
  first: Credentials,
  load: () => Promise<Credentials | undefined>,
  clock: Clock,
): CredentialSource {
  let current = first;
  let isRefused = false;
  let endedAt = Number.NEGATIVE_INFINITY;
  let failure: QueueError | undefined;
  let renewal: Promise<Credentials> | undefined;

  const leftMs = () => (isRefused ? 0 : (current.expiresAt ?? Infinity) - clock.now());
  const renew = async (): Promise<Credentials> => {
    try {
      const loaded = await load();
      if (loaded === undefined) throw new Error("there are none any more");
      current = loaded;
      isRefused = false;
      failure = undefined;
      return loaded;
    } catch (error) {
      failure = renewalError(error);
      throw failure;
    } finally {
      endedAt = clock.now();
      renewal = undefined;
    }
  };
  const isPause = (): boolean => {
    const sinceMs = clock.now() - endedAt;
    return sinceMs >= 0 && sinceMs < PAUSE_MS;
  };
  const renewOnce = (): Promise<Credentials> => {
    if (failure !== undefined && isPause()) return Promise.reject(failure);
    renewal ??= renew();
    return renewal;
  };

  return {
    async get() {
      const left = leftMs();
      if (left > AHEAD_MS) return current;
      if (left <= LEAST_MS) return await renewOnce();
      if (!isPause()) renewOnce().catch(() => undefined);
      return current;
    },
    refuse(credentials) {
      if (credentials === current) isRefused = true;
    },
  };
}

function renewalError(cause: unknown): QueueError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const answer = reply(451, "4.3.0", "Queue store unavailable");
  return new QueueError(`cannot get new credentials: ${reason}`, { reply: answer, cause });
}
