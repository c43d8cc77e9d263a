import type { Clock } from "../lib/world.ts";

/** Whether mail can be accepted durably, and what stands in the way. */
export interface ReadyReport {
  readonly status: "ready" | "not-ready";
  /** `ok`, or what is wrong, by the name of the check. */
  readonly checks: Readonly<Record<string, string>>;
}

/** How long a check may take before it counts as failed. */
export const READY_TIMEOUT_MS = 5000;

/**
 * Asks one question at a time, however many want to know, and does not wait for ever: a disk that hangs is not ready.
 * Never rejects.
 */
export function readiness(
  ready: () => Promise<ReadyReport>,
  clock: Clock,
): () => Promise<ReadyReport> {
  let asking: Promise<ReadyReport> | undefined;
  return () => {
    asking ??= ready()
      .catch((error: unknown) => failing(error instanceof Error ? error.message : "failed"))
      .finally(() => {
        asking = undefined;
      });
    return within(asking, clock);
  };
}

async function within(asking: Promise<ReadyReport>, clock: Clock): Promise<ReadyReport> {
  let cancel: () => void = () => undefined;
  const late = new Promise<ReadyReport>((resolve) => {
    const text = `no answer in ${READY_TIMEOUT_MS / 1000} seconds`;
    cancel = clock.after(READY_TIMEOUT_MS, () => resolve(failing(text)));
  });
  const report = await Promise.race([asking, late]);
  cancel();
  return report;
}

function failing(reason: string): ReadyReport {
  return { status: "not-ready", checks: { health: reason } };
}

/** Names without reasons, for those who are not trusted with more. */
export function withoutReasons({ status, checks }: ReadyReport): ReadyReport {
  const names = Object.entries(checks).map(([name, text]) => [
    name,
    text === "ok" ? text : "failing",
  ]);
  return { status, checks: Object.fromEntries(names) };
}
