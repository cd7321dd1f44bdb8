/** One run of a piece of work for everybody who asks for it meanwhile. */

interface Running<T> {
  promise: Promise<T>;
  controller: AbortController;
  callers: number;
}

export class SharedWork<T> {
  readonly #running = new Map<string, Running<T>>();

  /**
   * Joins the work that runs under `key`, or starts it. A caller whose signal fires gets its reason at
   * once, and the others get their result; only when it was the last one is the work's own signal
   * aborted, and then the caller waits until the work has cleaned up.
   */
  async run(
    key: string,
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    const running = this.#running.get(key) ?? this.#start(key, work);
    running.callers += 1;
    if (signal === undefined) return running.promise;
    const abort = rejectOnAbort(signal);
    try {
      return await Promise.race([running.promise, abort.promise]);
    } catch (error) {
      if (signal.aborted) await this.#leave(key, running, signal);
      throw error;
    } finally {
      abort.stop();
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Running<T> {
    const controller = new AbortController();
    const promise = work(controller.signal).finally(() => {
      this.#forget(key, running);
    });
    const running: Running<T> = { promise, controller, callers: 0 };
    this.#running.set(key, running);
    return running;
  }

  async #leave(key: string, running: Running<T>, signal: AbortSignal): Promise<void> {
    running.callers -= 1;
    if (running.callers > 0) return;
    // Whoever asks from now on starts anew instead of joining work that is being given up.
    this.#forget(key, running);
    running.controller.abort(signal.reason);
    await Promise.allSettled([running.promise]);
  }

  #forget(key: string, running: Running<T>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}

function rejectOnAbort(signal: AbortSignal): { promise: Promise<never>; stop: () => void } {
  let stop = (): void => undefined;
  const promise = new Promise<never>((_, reject) => {
    const onAbort = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    stop = () => {
      signal.removeEventListener('abort', onAbort);
    };
  });
  return { promise, stop };
}
