import type { Claim, Granted, Places } from "../places.ts";
import type { QueuePart } from "./part.ts";
import type { Steps } from "./steps.ts";

/** Places at destinations, counted by a script; see `lua-places.ts`. */
export function redisPlaces(steps: Steps, { node }: Pick<QueuePart, "node">): Places {
  let number = 0;
  return {
    async claim(claims, ttlMs) {
      number += 1;
      const args = claims.flatMap(argumentsOf);
      const what = "cannot share places at destinations";
      const answer = (await steps.run(what, "claim", [node, number, ttlMs, ...args])) as string[];
      return readGrants(answer, node);
    },
  };
}

function argumentsOf({ destination, limit, keeps, takes, wants }: Claim) {
  return [destination, limit, keeps, takes, wants];
}

/** The server's instant, then for each claim what is held, how many nodes there are, and each with what it has and wants. */
function readGrants([instant, ...rest]: readonly string[], own: string): readonly Granted[] {
  const grants: Granted[] = [];
  for (let at = 0; at < rest.length; ) {
    const [held, count] = [Number(rest[at]), Number(rest[at + 1])];
    const first = at + 2;
    at = first + 3 * count;
    const shares = Array.from({ length: count }, (_, index) => {
      const [node = "", has, wants] = rest.slice(first + 3 * index, first + 3 * index + 3);
      return { node, held: Number(has), wants: Number(wants) };
    });
    const nodes = shares.toSorted((one, other) => (one.node < other.node ? -1 : 1));
    const self = nodes.findIndex(({ node }) => node === own);
    grants.push({ held, nodes, self, at: Number(instant) });
  }
  return grants;
}
