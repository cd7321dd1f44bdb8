/** The pulls under way: whoever asks for the same shares one, anybody may see how far it is, its end is told once. */
import { RuntimeError, wrap } from '../../core/errors.js';
import type { ImageRecord } from '../../core/model.js';
import type { PullOptions } from '../../core/ports/images.js';
import type { PullReport, PullUnderWay } from '../../core/pull-progress.js';
import { SharedWork } from '../../util/shared-work.js';
import { PullProgress } from './pull-progress.js';

export type Pull = (signal: AbortSignal, progress: PullProgress) => Promise<ImageRecord>;

export class SharedPulls {
  readonly #work = new SharedWork<ImageRecord>();
  readonly #underWay = new Map<string, PullProgress>();
  readonly #onEnd: ((report: PullReport) => void) | undefined;

  constructor(onEnd: ((report: PullReport) => void) | undefined) {
    this.#onEnd = onEnd;
  }

  list(): PullUnderWay[] {
    return [...this.#underWay.values()];
  }

  get isIdle(): boolean {
    return this.#underWay.size === 0;
  }

  /** Errors name `reference`; pulls are the same when their `key` is. */
  async run(
    key: string,
    reference: string,
    { signal, onStart }: PullOptions,
    pull: Pull,
  ): Promise<ImageRecord> {
    try {
      const pulling = this.#work.run(key, signal, (shared) => {
        const progress = new PullProgress(reference);
        this.#underWay.set(key, progress);
        return this.#follow(key, progress, pull(shared, progress));
      });
      const progress = this.#underWay.get(key);
      if (progress) onStart?.(progress);
      return await pulling;
    } catch (error) {
      if (signal?.aborted !== true) throw wrap(error, `cannot pull ${reference}`);
      throw new RuntimeError('cancelled', `the pull of ${reference} was cancelled`, error);
    }
  }

  async #follow(
    key: string,
    progress: PullProgress,
    work: Promise<ImageRecord>,
  ): Promise<ImageRecord> {
    const tell = (outcome: PullReport['outcome']): void => {
      // After a cancelled one the same may have been started anew.
      if (this.#underWay.get(key) === progress) this.#underWay.delete(key);
      this.#onEnd?.(progress.report(outcome));
    };
    try {
      const image = await work;
      tell({ imageId: image.id });
      return image;
    } catch (error) {
      tell({ error });
      throw error;
    }
  }
}
