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

  constructor(options: LayerMeasurerOptions) {
    this.#options = options;
  }

  /** Something has happened: there may be new layers. */
  soon(): void {
    this.stop();
    const { layers, quietMs } = this.#options;
    if (layers.unmeasured().length === 0) return;
    this.#timer = setTimeout(() => void this.#measure(), quietMs).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  async #measure(): Promise<void> {
    const { layers, isBusy } = this.#options;
    for (const key of layers.unmeasured()) {
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
