/** Prune: removes the images that no container uses, and tells what space came back. */
import { RuntimeError } from '../core/errors.js';
import type { ImageId } from '../core/ids.js';
import type { ImageRecord } from '../core/model.js';
import type { RuntimeContext } from './context.js';
import { removeUnused } from './image-remove.js';

export interface PruneOptions {
  /** Images with tags as well; otherwise those alone that have none, or none any more. */
  all: boolean;
  /** Spares what was pulled at this time or later, nanoseconds since the epoch. */
  pulledBefore?: bigint;
}

export interface PrunedImage {
  id: ImageId;
  /** Tags, and where there is none the digest references. */
  names: string[];
  freedBytes: number;
}

export interface PruneResult {
  removed: PrunedImage[];
  /** What should have gone and could not. */
  failed: { id: ImageId; names: string[]; reason: string }[];
  freedBytes: number;
}

/** One image after the other. One that comes into use meanwhile stays. */
export async function pruneImages(
  context: RuntimeContext,
  options: PruneOptions,
): Promise<PruneResult> {
  const result: PruneResult = { removed: [], failed: [], freedBytes: 0 };
  for (const image of prunableImages(context, options)) {
    const { id } = image;
    const names = image.repoTags.length > 0 ? image.repoTags : image.repoDigests;
    try {
      const freedBytes = await removeUnused(context, id);
      result.removed.push({ id, names, freedBytes });
      result.freedBytes += freedBytes;
    } catch (error) {
      if (error instanceof RuntimeError && error.kind === 'failed-precondition') continue;
      const reason = error instanceof Error ? error.message : String(error);
      result.failed.push({ id, names, reason });
    }
  }
  return result;
}

/** What a prune with these options would remove now. */
export function prunableImages(
  context: RuntimeContext,
  { all, pulledBefore }: PruneOptions,
): ImageRecord[] {
  const used = context.objects.imagesInUse();
  return context.images.list().filter((image) => {
    if (used.has(image.id)) return false;
    if (!all && image.repoTags.length > 0) return false;
    return pulledBefore === undefined || BigInt(image.pulledAt) < pulledBefore;
  });
}
