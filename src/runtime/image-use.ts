/** Which images containers are being made of, and which are being removed: the two exclude each other. */
import { RuntimeError } from '../core/errors.js';
import type { ImageId } from '../core/ids.js';
import type { ContainerRecord } from '../core/model.js';

/** Its own, and those it has for volumes. */
export function imagesOf({ imageId, mounts }: ContainerRecord): ImageId[] {
  return [imageId, ...mounts.flatMap(({ image }) => (image ? [image.id] : []))];
}

/** Until a container is made it is in no list, but its image's layers are in its root filesystem. */
export class ImageUse {
  readonly #building = new Map<ImageId, number>();
  readonly #removing = new Map<ImageId, number>();

  /** Those that containers are being made of. */
  building(): Iterable<ImageId> {
    return this.#building.keys();
  }

  /** Keeps the images from being removed until `work` has settled. */
  async build<T>([id, ...others]: readonly ImageId[], work: () => Promise<T>): Promise<T> {
    if (id === undefined) return work();
    if (this.#removing.has(id)) {
      throw new RuntimeError('not-found', `image ${id} is being removed: pull it again`);
    }
    return counted(this.#building, id, () => this.build(others, work));
  }

  /** Of several removals of one image at once, the last one's end lets it be used again. */
  async remove<T>(id: ImageId, work: () => Promise<T>): Promise<T> {
    if (this.#building.has(id)) {
      throw new RuntimeError(
        'failed-precondition',
        `image ${id} is used by a container that is being created: try again later`,
      );
    }
    return counted(this.#removing, id, work);
  }
}

async function counted<T>(
  counts: Map<ImageId, number>,
  id: ImageId,
  work: () => Promise<T>,
): Promise<T> {
  counts.set(id, (counts.get(id) ?? 0) + 1);
  try {
    return await work();
  } finally {
    const left = (counts.get(id) ?? 0) - 1;
    if (left > 0) counts.set(id, left);
    else counts.delete(id);
  }
}
