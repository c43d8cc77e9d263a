import { pause } from "../../../lib/pause.ts";
import type { Clock } from "../../../lib/world.ts";
import type { Emit } from "../../../observe/events.ts";

const PAUSE_FIRST_MS = 500;
/** However long it lasts, those who wait look by themselves this often. */
const PAUSE_MAX_MS = 5000;

/** Whether something works: told when that changes, and how long to leave it alone. */
export class Trouble {
  readonly #what: string;
  readonly #emit: Emit;
  readonly #clock: Clock;
  #failures = 0;

  constructor(what: string, { emit, clock }: { readonly emit: Emit; readonly clock: Clock }) {
    this.#what = what;
    this.#emit = emit;
    this.#clock = clock;
  }

  /** It failed. Resolves when it may be tried again, or when `signal` says so. */
  async failed(error: unknown, signal: AbortSignal): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error);
    if (this.#failures === 0) this.#tell(`${this.#what} fails, mail may be late: ${reason}`);
    const pauseMs = Math.min(PAUSE_FIRST_MS * 2 ** this.#failures, PAUSE_MAX_MS);
    this.#failures += 1;
    await pause(this.#clock, pauseMs, signal);
  }

  worked(): void {
    if (this.#failures > 0) this.#tell(`${this.#what} works again`);
    this.#failures = 0;
  }

  #tell(text: string): void {
    this.#emit({ kind: "lifecycle", what: "warning", text });
  }
}
