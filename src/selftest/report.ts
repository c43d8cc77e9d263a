import type { CrashReport } from "./crash-run.ts";
import type { Finding } from "./judge.ts";
import type { Latency, SyncSpeed } from "./sync-speed.ts";
import type { Volume } from "./volume.ts";

/** Everything that the selftest of durability found out. */
export interface DurabilityReport {
  /** The directory that was named. */
  readonly dir: string;
  readonly durationMs: number;
  readonly volume: Volume;
  readonly syncs: SyncSpeed;
  readonly findings: readonly Finding[];
  readonly crashes: CrashReport;
}

/** What the selftest is worth, which it says itself. */
const WORTH =
  "a kill spares the kernel's memory: it proves recovery. Of power cuts only syncs and the lines below tell";

/** The report for people: what counts comes last. */
export function reportText(report: DurabilityReport, emphasise: (text: string) => string): string {
  const { dir, volume, syncs, findings, crashes } = report;
  const { acknowledged, delivered, bounced, lost } = crashes.balance;
  const rows: readonly (readonly [string, string])[] = [
    ["volume", `${dir}: ${volumeText(volume)}`],
    ["syncs", `4 KiB      ${latencyText(syncs.small)}`],
    ["", `256 KiB    ${latencyText(syncs.group)}`],
    ["", `directory  ${latencyText(syncs.directory)}`],
    ["", `under load at most ${crashes.syncMsMax} ms`],
    [
      "crashes",
      `${crashes.kills} times kill -9 in ${Math.round(report.durationMs / 1000)} s, ` +
        `back after ${seconds(crashes.startMsMax)} at most`,
    ],
    [
      "ledger",
      `${acknowledged} acknowledged: ${delivered} delivered, ${bounced} bounced, ${lost.length} lost`,
    ],
    ["", repeatsText(crashes)],
    ["worth", WORTH],
    ...findings.map(({ level, text }) => [level, text] as const),
    ...crashes.broken.map(({ promise, text }) => ["BROKEN", `${promise}: ${text}`] as const),
  ];
  const lines = rows.map(([name, text]) => `${name.padEnd(10)}${text}\n`);
  return `${lines.join("")}${emphasise(verdictText(report))}\n`;
}

/** The same for programs. */
export function reportJson(report: DurabilityReport): string {
  const { balance, ...crashes } = report.crashes;
  const { repeats, lost, damaged, wronglyBounced, ...counts } = balance;
  const excused = repeats.filter((repeat) => repeat.excused);
  const json = {
    verdict: verdictOf(report),
    dir: report.dir,
    duration_ms: report.durationMs,
    volume: volumeJson(report.volume),
    syncs_ms: report.syncs,
    findings: report.findings,
    kills: crashes.kills,
    start_ms_max: crashes.startMsMax,
    sync_under_load_ms_max: crashes.syncMsMax,
    window_ms: crashes.windowMs,
    ledger: {
      ...counts,
      lost: lost.length,
      damaged: damaged.length,
      wrongly_bounced: wronglyBounced.length,
      repeated_in_window: excused.length,
      repeated_outside_window: repeats.length - excused.length,
    },
    broken: crashes.broken,
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

function volumeJson({ fileSystem, source, options, device, zfsSync }: Volume): object {
  const { name, virtual, rotational, writeCache } = device ?? {};
  return {
    file_system: fileSystem,
    source,
    options,
    zfs_sync: zfsSync ?? null,
    device: device === undefined ? null : { name, virtual, rotational, write_cache: writeCache },
  };
}

/** `failed`: a promise was broken. `warned`: none was, but the volume may break one that a kill cannot. */
export function verdictOf({ crashes, findings }: DurabilityReport): "passed" | "warned" | "failed" {
  if (crashes.broken.length > 0) return "failed";
  return findings.some(({ level }) => level === "warning") ? "warned" : "passed";
}

function verdictText(report: DurabilityReport): string {
  switch (verdictOf(report)) {
    case "passed":
      return "PASSED: nothing was lost";
    case "warned":
      return "PASSED WITH WARNINGS: no crash lost anything, but this volume may";
    case "failed": {
      const promises = report.crashes.broken.flatMap(({ promise }) => promise.split(", "));
      return `FAILED: ${[...new Set(promises)].join(", ")}`;
    }
  }
}

function volumeText({ fileSystem, source, options, device }: Volume): string {
  const system = fileSystem === "" ? "an unknown file system" : fileSystem;
  const on = device === undefined ? source : device.name;
  const facts = [
    device?.virtual === true ? "virtual" : "",
    device?.writeCache ?? "",
    options
      .filter((option) => option !== "relatime")
      .slice(0, 4)
      .join(","),
  ].filter((fact) => fact !== "");
  return `${system}${on === "" ? "" : ` on ${on}`}${facts.length === 0 ? "" : ` (${facts.join("; ")})`}`;
}

function latencyText({ p50, p99, max }: Latency): string {
  const [middle, late, worst] = [p50, p99, max].map((ms) => `${ms.toFixed(2)} ms`.padEnd(10));
  return `p50 ${middle}p99 ${late}max ${worst}`.trimEnd();
}

function repeatsText({ balance: { repeats }, windowMs }: CrashReport): string {
  if (repeats.length === 0) return "none repeated";
  const finite = repeats.map(({ beforeCrashMs }) => beforeCrashMs).filter(Number.isFinite);
  const oldest = Math.max(0, ...finite);
  return `${repeats.length} repeated, answered at most ${oldest} ms before a kill (${windowMs} ms are allowed)`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
