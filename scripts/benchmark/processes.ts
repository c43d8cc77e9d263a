import { readdirSync, readFileSync, writeFileSync } from "node:fs";

/** The kernel's clock ticks in a second, as /proc counts them (USER_HZ: 100 on every Linux that Bun runs on). */
const TICKS = 100;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  /** Its own, and of its ended children that it has waited for. */
  readonly ticks: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold anything; fields count from behind it (proc(5): 4 ppid, 14-17 times).
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    return { pid, parent: Number(fields[1]), ticks };
  } catch {
    return undefined;
  }
}

/** The process and all below it. */
export function processTree(root: number): readonly number[] {
  const all = readdirSync("/proc")
    .filter((name) => /^\d+$/u.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== undefined);
  const members = new Set([root]);
  for (let before = 0; before !== members.size; ) {
    before = members.size;
    for (const { pid, parent } of all) if (members.has(parent)) members.add(pid);
  }
  return [...members];
}

/** CPU seconds, user and system, of a process and all its descendants, ended ones included. */
export function cpuSeconds(root: number): number {
  const ticks = processTree(root).map((pid) => statOf(pid)?.ticks ?? 0);
  return ticks.reduce((sum, each) => sum + each, 0) / TICKS;
}

/** CPU seconds once the work that was accepted has settled: no more than idle noise in half a second. */
export async function settledCpuSeconds(root: number, timeoutMs = 20_000): Promise<number> {
  const giveUpAt = performance.now() + timeoutMs;
  let last = cpuSeconds(root);
  for (;;) {
    await Bun.sleep(500);
    const next = cpuSeconds(root);
    if (next - last <= 0.02 || performance.now() > giveUpAt) return next;
    last = next;
  }
}

function statusBytes(pid: number, name: string): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "mu").exec(text)?.[1] ?? Number.NaN) * 1024;
}

/** Resident memory of one process, in MB (10^6 octets). */
export function residentMb(pid: number): number {
  return statusBytes(pid, "VmRSS") / 1e6;
}

/** The most resident memory since `forgetPeak`, in MB. */
export function peakMb(pid: number): number {
  return statusBytes(pid, "VmHWM") / 1e6;
}

export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

/** How often the threads of a process were woken: each voluntary context switch ends in a wake-up. */
export function wakeUps(pid: number): number {
  const counts = readdirSync(`/proc/${pid}/task`).map((thread) => {
    const text = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    return Number(/^voluntary_ctxt_switches:\s+(\d+)/mu.exec(text)?.[1] ?? 0);
  });
  return counts.reduce((sum, count) => sum + count, 0);
}
