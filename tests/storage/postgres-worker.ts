/** A process that takes mail out of a queue in PostgreSQL until there is none: `bun postgres-worker.ts URL HOLDER`. */
import { openNode } from "./postgres-fixture.ts";

const [url = "", holder = ""] = process.argv.slice(2);
const { storage } = await openNode(url);
const took: string[] = [];
for (;;) {
  const now = Date.now();
  const leases = await storage.lease(now, 7, { holder, until: now + 60_000 });
  if (leases.length === 0 && (await storage.nextDue()) === null) break;
  const settled = leases.map(async ({ id }) => {
    await storage.settle(id, { recipients: [{ index: 0, status: "delivered" }] }, { holder });
    took.push(id);
  });
  await Promise.all(settled);
}
await storage.close();
process.stdout.write(`took ${JSON.stringify(took)}\n`);
