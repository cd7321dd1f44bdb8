/** RemoveImage: all names of an image, unless a container still stands on it. */
import { RuntimeError } from '../core/errors.js';
import type { RuntimeContext } from './context.js';

/** Idempotent; an unknown image is a removed one. */
export async function removeImage(context: RuntimeContext, reference: string): Promise<void> {
  const image = context.images.find(reference);
  if (!image) return;
  const user = [...context.objects.containers()].find((c) => c.record.imageId === image.id);
  if (user) {
    throw new RuntimeError(
      'failed-precondition',
      `image ${image.id} is used by container ${user.id}: remove the container first`,
    );
  }
  await context.objects.imageUse.remove(image.id, () => context.images.remove(image.id));
}
