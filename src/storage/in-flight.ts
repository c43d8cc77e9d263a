/** Work under way by id: at most one piece at a time for each. */
export class InFlight {
  readonly #work = new Map<string, Promise<unknown>>();

  has(id: string): boolean {
    return this.#work.has(id);
  }

  /** Resolves in a turn in which nothing is under way for any of them, however what was ended. */
  async idle(ids: readonly string[]): Promise<void> {
    for (;;) {
      const busy = ids.map((id) => this.#work.get(id)).find((work) => work !== undefined);
      if (busy === undefined) return;
      await busy.catch(() => undefined);
    }
  }

  /** Does `work` for ids that are idle. */
  async run<T>(ids: readonly string[], work: () => Promise<T>): Promise<T> {
    const running = work();
    for (const id of ids) this.#work.set(id, running);
    try {
      return await running;
    } finally {
      for (const id of ids) this.#work.delete(id);
    }
  }
}
