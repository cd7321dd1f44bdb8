/** RemoveImage: all names of an image, unless a container still stands on it. */
import { RuntimeError } from '../core/errors.js';
import type { ImageId } from '../core/ids.js';
import type { RuntimeContext } from './context.js';
import { imagesOf } from './image-use.js';

/** Idempotent; an unknown image is a removed one. */
export async function removeImage(context: RuntimeContext, reference: string): Promise<void> {
  const image = context.images.find(reference);
  if (image) await removeUnused(context, image.id);
}

/** Answers the bytes that came back. Nothing is awaited between the check and the mark of `imageUse`. */
export async function removeUnused(context: RuntimeContext, id: ImageId): Promise<number> {
  const user = [...context.objects.containers()].find((c) => imagesOf(c.record).includes(id));
  if (user) {
    throw new RuntimeError(
      'failed-precondition',
      `image ${id} is used by container ${user.id}: remove the container first`,
    );
  }
  return context.objects.imageUse.remove(id, () => context.images.remove(id));
}
