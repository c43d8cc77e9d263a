import type { Config } from "../config/config.ts";
import type { Emit, Event } from "../observe/events.ts";
import { lifecycleLevel } from "../observe/log-fact.ts";

const RANK = { debug: 0, info: 1, warning: 2, error: 3 } as const;

/** Lets through what is at least as important as `level`. */
export function atLeast(level: Config["log"]["level"], emit: Emit): Emit {
  if (RANK[level] <= RANK.info) return emit;
  return (event) => {
    if (RANK[levelOf(event)] >= RANK[level]) emit(event);
  };
}

function levelOf(event: Event): "info" | "warning" | "error" {
  switch (event.kind) {
    case "lifecycle":
      return lifecycleLevel(event.what);
    case "corrupt":
      return "warning";
    case "storage":
      return event.state === "failing" ? "warning" : "info";
    case "refused":
      return event.command.startsWith("AUTH") ? "warning" : "info";
    default:
      return "info";
  }
}
