import { type DataChange, type Disk, type NameChange, type Survival, sectorsOf } from "./disk.ts";

/** Changes taken alone, and left out alone, at one point; more are left to chance. */
const SINGLES_MAX = 12;

/** How much a state is worth looking at when not all of them can be. */
export interface Candidate {
  readonly survival: Survival;
  /** Two states with the same key are the same bytes. */
  readonly key: string;
  /** States of one kind differ in bytes alone, such as in how much of a long write-ahead file there is. */
  readonly kind: string;
  /** The extremes, which find most of what there is to find. */
  readonly isExtreme: boolean;
  /** Just one change of names did not survive. */
  readonly losesOneName: boolean;
}

const ALL_BUT_ONE_NAME = "all but one change of names";

/**
 * What a power cut at this instant may leave: of the changes that no sync has covered nothing, everything, bytes
 * without names, names without bytes, each of them alone, all but one, and some by chance, torn anywhere.
 */
export function candidates(disk: Disk, random: () => number): readonly Candidate[] {
  const names = disk.pendingNames;
  const data = disk.pendingData();
  const allNames = new Set(names.map(({ at }) => at));
  const allData = new Map(data.map(({ at }) => [at, "whole" as const]));
  const none = { label: "nothing", names: new Set<number>(), data: new Map(), ...PLAIN };
  const extremes: Survival[] = [none];
  if (names.length + data.length > 0) {
    const all = { ...none, label: "everything", names: allNames, data: allData };
    extremes.push(all);
    if (data.length > 0) {
      extremes.push({ ...none, label: "names without bytes", names: allNames });
      extremes.push({
        ...none,
        label: "names and sizes, zeros for bytes",
        names: allNames,
        grown: true,
      });
      const garbage = { grown: true, garbage: true };
      extremes.push({
        ...none,
        label: "names and sizes, garbage for bytes",
        names: allNames,
        ...garbage,
      });
    }
    if (names.length > 0) extremes.push({ ...none, label: "bytes without names", data: allData });
  }
  const others = [
    ...some(names, random).flatMap((change) => nameAlone(change, disk, { ...none, data: allData })),
    ...some(data, random).flatMap((change) =>
      dataAlone(change, data, { ...none, names: allNames }),
    ),
    ...(names.length + data.length > 0 ? [byChance(disk, names, data, random)] : []),
  ];
  const candidate = (isExtreme: boolean) => (survival: Survival) => {
    const kind = `${disk.version}/${survival.label}/${[...survival.names].join(",")}`;
    const losesOneName = survival.label === ALL_BUT_ONE_NAME;
    const key = keyOf(disk.version, survival, data.length > 0);
    return { survival, isExtreme, losesOneName, kind, key };
  };
  return [...extremes.map(candidate(true)), ...others.map(candidate(false))];
}

const PLAIN = { grown: false, garbage: false };

/** What is said of a survival in a report: each change and how it fared. */
export function describeSurvival(disk: Disk, { label, ...survival }: Survival): string {
  const names = disk.pendingNames.map(({ at, text }) => `${sign(survival.names.has(at))} ${text}`);
  const data = disk.pendingData().map((change) => {
    const got = survival.data.get(change.at);
    const torn =
      got === undefined || got === "whole" ? "" : `, sectors ${got.map(Number).join("")}`;
    const { offset, bytes, size } = change;
    const what = `${bytes.length} octets at ${offset} of ${disk.pathOf(change.inode)} (then ${size} long)`;
    return `${sign(got !== undefined)} ${what}${torn}`;
  });
  const sizes = survival.grown
    ? `new sizes, ${survival.garbage ? "garbage" : "zeros"} for what is missing`
    : "";
  return [`survived: ${label}${sizes && ` (${sizes})`}`, ...names, ...data].join("\n    ");
}

function sign(survived: boolean): string {
  return survived ? "+" : "-";
}

/** All of them, or as many by chance as may be: the newest always, since nobody looked at it before. */
function some<T>(all: readonly T[], random: () => number): readonly T[] {
  if (all.length <= SINGLES_MAX) return all;
  const rolled = Array.from(
    { length: SINGLES_MAX - 2 },
    () => all[Math.floor(random() * all.length)],
  );
  return [...all.slice(-2), ...rolled.filter((one) => one !== undefined)];
}

function nameAlone({ at }: NameChange, disk: Disk, base: Survival): readonly Survival[] {
  const others = disk.pendingNames.map((change) => change.at);
  const alone = disk.withCauses(new Set([at]));
  const without = new Set(others.filter((other) => !disk.withCauses(new Set([other])).has(at)));
  return [
    { ...base, label: "one change of names, all bytes", names: alone },
    { ...base, label: ALL_BUT_ONE_NAME, names: without },
  ];
}

function dataAlone(
  { at }: DataChange,
  data: readonly DataChange[],
  base: Survival,
): readonly Survival[] {
  const others = data.filter((change) => change.at !== at);
  const rest = new Map(others.map((change) => [change.at, "whole" as const]));
  return [
    { ...base, label: "one change of bytes, all names", data: new Map([[at, "whole" as const]]) },
    { ...base, label: "all but one change of bytes", data: rest, grown: true },
  ];
}

function byChance(
  disk: Disk,
  names: readonly NameChange[],
  data: readonly DataChange[],
  random: () => number,
): Survival {
  const share = random();
  const chosen = names.filter(() => random() < share).map(({ at }) => at);
  const kept = new Map<number, "whole" | readonly boolean[]>();
  const dataShare = random();
  for (const change of data) {
    if (random() < 0.3)
      kept.set(
        change.at,
        sectorsOf(change).map(() => random() < 0.5),
      );
    else if (random() < dataShare) kept.set(change.at, "whole");
  }
  const label = "some, by chance";
  const [grown, garbage] = [random() < 0.5, random() < 0.5];
  return { label, names: disk.withCauses(new Set(chosen)), data: kept, grown, garbage };
}

function keyOf(
  version: number,
  { names, data, grown, garbage }: Survival,
  hasData: boolean,
): string {
  const kept = [...data].map(([at, got]) =>
    got === "whole" ? at : `${at}:${got.map(Number).join("")}`,
  );
  const sizes = hasData ? `${Number(grown)}${Number(garbage)}` : "";
  return `${version}/${[...names].join(",")}/${kept.join(",")}/${sizes}`;
}
