/** Serialises work per key: one at a time for the same key, in order of arrival, all at once otherwise. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Runs `work` once everything queued earlier for `key` has settled. Not re-entrant. */
  run<T>(key: string, work: () => T | Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const result = before.then(work);
    // The tail never rejects: a failure is its own caller's, not that of whoever queues next.
    const tail = result.then(ignore, ignore).finally(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    this.#tails.set(key, tail);
    return result;
  }

  /** Keys that have work running or waiting. */
  get size(): number {
    return this.#tails.size;
  }
}

function ignore(): void {
  // The outcome went to the caller of run.
}
