import type { OpenStorage } from "./contract-bench.ts";
import { listContract } from "./contract-list.ts";
import { scheduleContract } from "./contract-schedule.ts";
import { settleContract } from "./contract-settle.ts";
import { writeContract } from "./contract-write.ts";

/** What every engine promises: the same body for each of them, without exceptions. */
export function storageContract(name: string, open: OpenStorage): void {
  writeContract(name, open);
  settleContract(name, open);
  scheduleContract(name, open);
  listContract(name, open);
}
