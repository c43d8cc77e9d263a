import { buildNotification } from "../bounce/notification.ts";
import type { Config } from "../config/config.ts";
import { addDateHeader, addMessageIdHeader } from "../policy/headers.ts";
import { hopLimit } from "../policy/hop-limit.ts";
import type { Policy } from "../policy/policy.ts";
import { addReceivedHeader } from "../policy/received.ts";
import { recipientDomainSplit, recipientSplit } from "../policy/split.ts";
import type { QueueOptions } from "../queue/queue.ts";
import { stepsBackoff } from "../schedule/backoff.ts";

/** A destination that fails so often in a row is left alone for a while. */
const COHORT = 5;
const SUSPEND_FIRST_MS = 5000;
const SUSPEND_MAX_MS = 10 * 60_000;
/** RFC 5321's timeouts added up come to less than this. */
const ATTEMPT_MAX_MS = 60 * 60_000;

const POLICIES: Readonly<Record<Config["policy"]["chain"][number], Policy>> = {
  date: addDateHeader,
  "message-id": addMessageIdHeader,
  received: addReceivedHeader,
  "split-domain": recipientDomainSplit,
  "split-recipient": recipientSplit,
};

/** What the configuration says about the queue, in the queue's own words; `node` is this one among those that share it. */
export function queueOptions(config: Config, node?: string): QueueOptions {
  const { queue, smtp, policy, bounce } = config;
  const limits = { stepsMs: queue.retry, jitter: queue.jitter };
  return {
    ...(node !== undefined && { node }),
    hostname: smtp.hostname,
    policies: [hopLimit(smtp.receivedMax), ...policy.chain.map((name) => POLICIES[name])],
    lifetimes: {
      backoff: stepsBackoff({ ...limits, lifetimeMs: queue.lifetime }),
      lifetimeMs: queue.lifetime,
      bounceBackoff: stepsBackoff({ ...limits, lifetimeMs: queue.bounceLifetime }),
      bounceLifetimeMs: queue.bounceLifetime,
    },
    notices: {
      factory: buildNotification,
      hostname: smtp.hostname,
      postmaster: bounce.postmaster,
      returnBytesMax: bounce.sizeMax,
      delayNoticeMs: queue.delayNotice,
    },
    deliveriesMax: queue.deliveriesMax,
    waitingMax: queue.window,
    waitingPerDestinationMax: queue.windowPerDestination,
    attemptMaxMs: ATTEMPT_MAX_MS,
    leaseMs: queue.lease,
    throttle: {
      limitStart: queue.perDestinationStart,
      limitMax: queue.perDestinationMax,
      cohort: COHORT,
      suspendFirstMs: SUSPEND_FIRST_MS,
      suspendMaxMs: SUSPEND_MAX_MS,
    },
  };
}
