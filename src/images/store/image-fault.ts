/** What an image lacks, as far as it costs next to nothing to see. */
import { layerKeys } from '../../core/layer-key.js';
import type { BlobStore } from './blob-store.js';
import type { Fault, StoredImage } from './image-records.js';
import type { LayerStore } from './layer-store.js';

/** Whether everything is there, in its size: no file is opened for it. */
export function findFault(image: StoredImage, layers: LayerStore, blobs: BlobStore): Fault | null {
  const sizes = new Map(image.blobSizes);
  const isThere = (digest: string): boolean => {
    const size = blobs.size(digest);
    return size !== undefined && size === (sizes.get(digest) ?? size);
  };
  const lost = image.blobs.find((digest) => !isThere(digest));
  if (lost !== undefined) {
    return { reason: `blob ${lost} is missing or of another size`, kind: 'damaged' };
  }
  const keys = layerKeys(image.layers, layers.keyedBy);
  const missing = keys.find(({ key }) => !layers.has(key));
  if (missing === undefined) return null;
  for (const { key } of keys) {
    const refusal = layers.refusal(key);
    if (refusal) return { reason: refusal.message, kind: 'newer' };
  }
  const damage = layers.damage(missing.key);
  const reason = `layer ${missing.diffId} is ${damage === undefined ? 'missing' : `damaged: ${damage}`}`;
  const isMendable = image.layerBlobs.length > 0 && image.layerBlobs.every(isThere);
  return { reason, kind: isMendable ? 'mendable' : 'damaged' };
}
