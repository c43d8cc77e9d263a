import type { Check } from "./fsck-check.ts";
import { keepEvidence } from "./quarantine.ts";
import type { Row } from "./row.ts";
import type { StateDb } from "./state-db.ts";

/** Takes a damaged message out of the queue, its segment kept in `corrupt/` under a second name, with a note why. */
export async function quarantineDamage(
  row: Row,
  reason: string,
  check: Check,
  db: StateDb,
): Promise<void> {
  await keepEvidence({ subject: row.id, segment: row.segment, reason, facts: { ...row } }, check);
  db.transaction(() => {
    db.delete(row.id);
    db.setMeta("corrupt", db.meta("corrupt") + 1);
  });
}
