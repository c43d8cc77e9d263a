import * as fs from "node:fs";
import type { Check } from "./fsck-check.ts";
import type { Row } from "./row.ts";
import type { StateDb } from "./state-db.ts";

/** Takes a damaged message out of the queue, its segment kept in `corrupt/` under a second name, with a note why. */
export function quarantineDamage(row: Row, reason: string, check: Check, db: StateDb): void {
  const { layout, files } = check;
  const path = layout.segment(row.segment);
  const kept = `${layout.corrupt}/${path.slice(path.lastIndexOf("/") + 1)}`;
  if (files.exists(path) && !files.exists(kept)) files.link(path, kept);
  const note = JSON.stringify({ subject: row.id, reason, ...row, segment: kept });
  fs.writeFileSync(`${layout.corrupt}/${row.id}.json`, `${note}\n`, { mode: 0o600 });
  db.transaction(() => {
    db.delete(row.id);
    db.setMeta("corrupt", db.meta("corrupt") + 1);
  });
}
