import { connect } from "node:net";

const EVERY_MS = 5;

/**
 * Waits until `probe` gives something other than `undefined` and false, asking every few milliseconds: for the state of
 * other programs, which send no events. Rejects after `timeoutMs`, naming `what`.
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 15_000,
): Promise<T> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    const seen = await probe();
    if (seen !== undefined && seen !== false) return seen;
    if (performance.now() > giveUpAt) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await Bun.sleep(EVERY_MS);
  }
}

/** Whether something accepts TCP connections there. */
export function accepts(port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
