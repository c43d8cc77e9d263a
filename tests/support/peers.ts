import { describe, test } from "bun:test";
import { accessSync, constants, readFileSync } from "node:fs";
import { join } from "node:path";

/** A real program that tests talk to, as listed in peers.txt. */
export interface Peer {
  readonly name: string;
  readonly debianPackage: string;
  readonly needsRoot: boolean;
  readonly program: string;
  readonly neededBy: string;
}

/** Every peer that tests may name; one line of peers.txt each. */
export const PEERS: ReadonlyMap<string, Peer> = new Map(
  readFileSync(join(import.meta.dir, "peers.txt"), "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [name = "", debianPackage = "", root = "", program = "", ...neededBy] =
        line.split(/\s+/u);
      return [
        name,
        { name, debianPackage, needsRoot: root === "root", program, neededBy: neededBy.join(" ") },
      ];
    }),
);

/** Why this peer cannot be used here, or `undefined` when it can. */
export function whyNoPeer(name: string): string | undefined {
  const peer = PEERS.get(name);
  if (peer === undefined) throw new Error(`${name} is not listed in tests/support/peers.txt`);
  if (!executable(peer.program)) {
    return `${peer.program} is missing (Debian package ${peer.debianPackage})`;
  }
  if (peer.needsRoot && process.getuid?.() !== 0) return `${name} can only be used by root`;
  return undefined;
}

/** Whether the peer is installed and usable by this user. */
export function hasPeer(name: string): boolean {
  return whyNoPeer(name) === undefined;
}

/**
 * `describe` for tests that talk to real programs. Without one of them the tests are skipped and the reason is printed;
 * with CI=true that is a failure.
 */
export function describeWithPeers(peers: readonly string[], title: string, body: () => void): void {
  const reasons = peers.map(whyNoPeer).filter((reason) => reason !== undefined);
  if (reasons.length === 0) {
    describe(title, body);
    return;
  }
  const reason = reasons.join("; ");
  if (isCi()) {
    test(title, () => {
      throw new Error(`may not be skipped in CI: ${reason}`);
    });
    return;
  }
  console.warn(`skipped: ${title}: ${reason}`);
  describe.skip(`${title} (${reason})`, body);
}

function isCi(): boolean {
  return ["true", "1"].includes(Bun.env.CI ?? "");
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
