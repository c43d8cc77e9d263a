import type { Step, Whim } from "../../tests/support/mail-host.ts";
import { type MailWorld, mailWorld } from "../../tests/support/mail-world.ts";

const SLOW_MS = 200;
/** How long the flaky host is up, and then away. */
const UP_MS = 120_000;
const AWAY_MS = 60_000;

/** The Internet of an endurance run. Mail for a host that is well, slow, moody or flaky is delivered in the end. */
export async function enduranceWorld(
  random: () => number,
  onTaken: (recipients: readonly string[]) => void,
): Promise<MailWorld> {
  return await mailWorld({
    hosts: {
      take: { onTaken },
      slow: { onTaken, delayMs: SLOW_MS },
      moody: { onTaken, whim: (step) => mood(step, random()) },
      flaky: { onTaken },
      reject: { onTaken, whim: (step) => (step === "rcpt" ? "reject" : undefined) },
      defer: { onTaken, whim: (step) => (step === "rcpt" ? "defer" : undefined) },
      hang: { onTaken, whim: () => (random() < 0.3 ? "hang" : undefined) },
      drip: { onTaken, readsSlowly: true },
    },
    silent: ["silent"],
    down: ["down"],
  });
}

/** What may happen at each step, with its probability; the first that comes up. */
const MOODS: Readonly<
  Partial<Record<Step, readonly (readonly [Exclude<Whim, undefined>, number])[]>>
> = {
  greeting: [
    ["drop", 0.02],
    ["hang", 0.005],
  ],
  ehlo: [["drop", 0.01]],
  mail: [["defer", 0.02]],
  rcpt: [
    ["defer", 0.3],
    ["reject", 0.08],
    ["drop", 0.01],
  ],
  data: [["hang", 0.005]],
  dot: [
    ["defer", 0.05],
    ["drop", 0.02],
    ["hang", 0.005],
  ],
};

function mood(step: Step, dice: number): Whim {
  let left = dice;
  for (const [whim, share] of MOODS[step] ?? []) {
    left -= share;
    if (left < 0) return whim;
  }
  return undefined;
}

/** Takes the flaky host away and brings it back until told to stop. */
export async function flicker(world: MailWorld, until: AbortSignal): Promise<void> {
  const host = world.host("flaky");
  for (;;) {
    if (await passes(UP_MS, until)) return;
    await host.shut();
    const ended = await passes(AWAY_MS, until);
    await host.open();
    if (ended) return;
  }
}

/** Waits so long; true at once when it is time to stop. */
export async function passes(ms: number, until: AbortSignal): Promise<boolean> {
  if (until.aborted) return true;
  return await new Promise((resolve) => {
    const stop = () => {
      clearTimeout(timer);
      resolve(true);
    };
    const timer = setTimeout(() => {
      until.removeEventListener("abort", stop);
      resolve(false);
    }, ms);
    until.addEventListener("abort", stop, { once: true });
  });
}
