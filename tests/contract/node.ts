/**
 * One node of several, as a process of its own: `bun node.ts URL HOLDER LEASE_MS settle|keep`. It leases what is due, settles
 * it or keeps it until USR2 tells it to settle all that it has, and says what it does; TERM ends it.
 */
import { LostLeaseError, NotFoundError } from "../../src/storage/storage.ts";
import { openUrl } from "./shared-store.ts";

const [url = "", holder = "", leaseMs = "60000", mode = "settle"] = process.argv.slice(2);
const AT_ONCE = 7;

const storage = await openUrl(url);
const stop = new AbortController();
const kept = new Set<string>();
process.on("SIGTERM", () => stop.abort());
process.on("SIGUSR2", () => void Promise.all([...kept].map(settle)));

async function settle(id: string): Promise<void> {
  kept.delete(id);
  try {
    const recipients = [{ index: 0, status: "delivered" as const }];
    await storage.settle(id, { recipients }, { holder });
    console.log(`settled ${id}`);
  } catch (error) {
    if (!(error instanceof LostLeaseError || error instanceof NotFoundError)) throw error;
    console.log(`lost ${id}`);
  }
}

console.log("ready");
while (!stop.signal.aborted) {
  const now = Date.now();
  const leases = await storage.lease(now, AT_ONCE, { holder, until: now + Number(leaseMs) });
  for (const { id } of leases) {
    console.log(`leased ${id}`);
    kept.add(id);
  }
  if (mode === "settle") await Promise.all(leases.map(({ id }) => settle(id)));
  if (leases.length === 0) await Bun.sleep(20);
}
await storage.close();
process.exit(0);
