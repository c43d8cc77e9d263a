import type { Clock } from "../../src/lib/world.ts";
import type { Claim, Granted, Places } from "../../src/storage/places.ts";

/** What a store that counts places does, in the plainest form and on the clock of the test. */
export interface PlacesLedger {
  /** As a node of this name sees it. */
  of(node: string): Places;
  /** Claims fail from now on: before they are made, or behind it, so that only the answer is lost. */
  fail(how: "before" | "after" | undefined): void;
  /** Claims that were made so far, by destination. */
  readonly claims: ReadonlyMap<string, number>;
}

interface Held {
  readonly held: number;
  readonly wants: number;
  readonly until: number;
}

/** Answers take `latencyMs`. */
export function placesLedger(clock: Clock, latencyMs = 1): PlacesLedger {
  const destinations = new Map<string, Map<string, Held>>();
  const claims = new Map<string, number>();
  let failing: "before" | "after" | undefined;

  function make(node: string, claim: Claim, ttlMs: number): Granted {
    const { destination, limit, keeps, takes, wants } = claim;
    claims.set(destination, (claims.get(destination) ?? 0) + 1);
    const now = clock.now();
    const nodes = destinations.get(destination) ?? new Map<string, Held>();
    destinations.set(destination, nodes);
    for (const [name, { until }] of nodes) if (until <= now) nodes.delete(name);
    nodes.delete(node);
    const others = [...nodes.values()].reduce((sum, { held }) => sum + held, 0);
    const held = keeps + Math.max(0, Math.min(takes - keeps, limit - others - keeps));
    if (held + wants > 0) nodes.set(node, { held, wants, until: now + ttlMs });
    const names = [...nodes.keys()].toSorted();
    const shares = names.flatMap((name) => nodes.get(name) ?? []);
    return { held, nodes: shares, self: names.indexOf(node), at: now };
  }

  return {
    of: (node) => ({
      async claim(asked, ttlMs) {
        if (failing === "before") throw new Error("lost");
        const granted = asked.map((claim) => make(node, claim, ttlMs));
        await new Promise<void>((resolve) => clock.after(latencyMs, resolve));
        if (failing === "after") throw new Error("lost");
        return granted;
      },
    }),
    fail(how) {
      failing = how;
    },
    claims,
  };
}
