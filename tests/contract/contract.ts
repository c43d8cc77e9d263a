import { arriveContract } from "./arrive.ts";
import type { OpenStorage } from "./bench.ts";
import { edgeContract } from "./edges.ts";
import { listContract } from "./list.ts";
import { octetContract } from "./octets.ts";
import { scheduleContract } from "./schedule.ts";
import { settleContract } from "./settle.ts";
import { writeContract } from "./write.ts";

/** What every engine promises: the same body for each of them, without exceptions. */
export function storageContract(name: string, open: OpenStorage): void {
  writeContract(name, open);
  arriveContract(name, open);
  settleContract(name, open);
  scheduleContract(name, open);
  listContract(name, open);
  edgeContract(name, open);
  octetContract(name, open);
}
