/** One node of several, as a process of its own: leases, settles what it leases when told to, and says what it does. */
import { realWorld } from "../../src/lib/world.ts";
import { openStore } from "./redis-fixture.ts";

const [url = "", holder = "", leaseMs = "1000", settles = "yes"] = process.argv.slice(2);
const storage = await openStore(url);
const stop = new AbortController();
process.on("SIGTERM", () => stop.abort());
console.log("ready");
while (!stop.signal.aborted) {
  const now = realWorld.clock.now();
  const leases = await storage.lease(now, 7, { holder, until: now + Number(leaseMs) });
  for (const { id } of leases) {
    console.log(`leased ${id}`);
    if (settles !== "yes") continue;
    await storage.get(id);
    const settlement = { recipients: [{ index: 0, status: "delivered" as const }] };
    await storage.settle(id, settlement, { holder });
    console.log(`settled ${id}`);
  }
  if (leases.length === 0) await storage.wait(stop.signal);
}
await storage.close();
process.exit(0);
