import { BINARY, type Daemon, startDaemon } from "../../tests/support/binary.ts";
import { tempDir } from "../../tests/support/temp-dir.ts";
import type { Setting } from "./measures.ts";

/** Starts a node that accepts nothing and hands on what others have put into the store. */
export async function relayNode(
  spool: string,
  nextHop: number,
  { parent }: Setting,
  args: readonly string[] = [],
): Promise<Daemon> {
  const dir = tempDir("bench", parent);
  return await startDaemon({
    command: [BINARY],
    spool,
    relayOnly: true,
    args: ["--relay", `smtp://127.0.0.1:${nextHop}`, "--set", "admin.socket=off", ...args],
    outputFile: dir.join("log"),
  });
}
