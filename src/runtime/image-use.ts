/** Which images containers are being made of, and which are being removed: the two exclude each other. */
import { RuntimeError } from '../core/errors.js';
import type { ImageId } from '../core/ids.js';

/** Until a container is made it is in no list, but its image's layers are in its root filesystem. */
export class ImageUse {
  readonly #building = new Map<ImageId, number>();
  readonly #removing = new Set<ImageId>();

  /** Keeps the image from being removed until `work` has settled. */
  async build<T>(id: ImageId, work: () => Promise<T>): Promise<T> {
    if (this.#removing.has(id)) {
      throw new RuntimeError('not-found', `image ${id} is being removed: pull it again`);
    }
    this.#building.set(id, (this.#building.get(id) ?? 0) + 1);
    try {
      return await work();
    } finally {
      const left = (this.#building.get(id) ?? 0) - 1;
      if (left > 0) this.#building.set(id, left);
      else this.#building.delete(id);
    }
  }

  async remove(id: ImageId, work: () => Promise<void>): Promise<void> {
    if (this.#building.has(id)) {
      throw new RuntimeError(
        'failed-precondition',
        `image ${id} is used by a container that is being created: try again later`,
      );
    }
    this.#removing.add(id);
    try {
      await work();
    } finally {
      this.#removing.delete(id);
    }
  }
}
