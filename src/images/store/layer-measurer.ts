/** Measures new layers exactly, when nothing else is to be done. */
import type { LayerStore } from './layer-store.js';

export interface LayerMeasurerOptions {
  layers: LayerStore;
  /** While this is so, nothing is measured. */
  isBusy: () => boolean;
  /** How long nothing must have happened. */
  quietMs: number;
}

/** A pull does not wait for it, nor has one that runs to share the disk with it. */
export class LayerMeasurer {
  readonly #options: LayerMeasurerOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: LayerMeasurerOptions) {
    this.#options = options;
  }

  /** Something has happened: there may be new layers. */
  soon(): void {
    clearTimeout(this.#timer);
    const { layers, quietMs } = this.#options;
    if (this.#isClosed || layers.unmeasured().length === 0) return;
    this.#timer = setTimeout(() => {
      // One after the other: a layer is measured once, soon after it came.
      this.#running = this.#running.then(() => this.#measure());
    }, quietMs).unref();
  }

  /** Does `work` while nothing is measured; what came meanwhile is measured afterwards. */
  async without<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#running.then(work);
    this.#running = result.then(ignore, ignore);
    try {
      return await result;
    } finally {
      this.soon();
    }
  }

  /** Measures nothing any more from its end on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #measure(): Promise<void> {
    const { layers, isBusy } = this.#options;
    for (const key of layers.unmeasured()) {
      if (this.#isClosed) return;
      if (isBusy()) {
        this.soon();
        return;
      }
      try {
        await layers.measure(key);
      } catch {
        // Removed meanwhile, or the disk is full: the estimate stays until something happens again.
      }
    }
  }
}

function ignore(): void {
  // The outcome is its caller's.
}
