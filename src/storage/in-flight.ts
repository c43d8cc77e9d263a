/** Work under way by id: at most one piece at a time for each. */
export class InFlight {
  readonly #work = new Map<string, Promise<unknown>>();

  has(...ids: readonly string[]): boolean {
    return ids.some((id) => this.#work.has(id));
  }

  /**
   * Resolves when something that is under way for one of them has ended, however it did. Others may have been quicker to
   * start something else, so that who waits has to ask again: `while (work.has(id)) await work.change([id])`.
   */
  async change(ids: readonly string[]): Promise<void> {
    const busy = ids.map((id) => this.#work.get(id)).find((work) => work !== undefined);
    await busy?.catch(() => undefined);
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
