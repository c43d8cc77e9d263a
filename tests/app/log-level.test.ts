import { expect, test } from "bun:test";
import { atLeast } from "../../src/app/log-level.ts";
import type { Event } from "../../src/observe/events.ts";

const EVENTS: readonly Event[] = [
  { kind: "removed", id: "A" },
  { kind: "storage", state: "failing", operation: "settle", reason: "ENOSPC" },
  { kind: "storage", state: "recovered", operation: "settle", reason: "" },
  { kind: "corrupt", subject: "A", movedTo: "corrupt/A", reason: "checksum" },
  { kind: "lifecycle", what: "ready", text: "here" },
  { kind: "lifecycle", what: "error", text: "bug" },
];

function kept(level: "error" | "warning" | "info" | "debug"): number[] {
  const seen: Event[] = [];
  const emit = atLeast(level, (event) => void seen.push(event));
  for (const event of EVENTS) emit(event);
  return seen.map((event) => EVENTS.indexOf(event));
}

test("only what is important enough is written", () => {
  expect(kept("debug")).toEqual([0, 1, 2, 3, 4, 5]);
  expect(kept("info")).toEqual([0, 1, 2, 3, 4, 5]);
  expect(kept("warning")).toEqual([1, 3, 5]);
  expect(kept("error")).toEqual([5]);
});
