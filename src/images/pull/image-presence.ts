/** What need not be done again for an image that is here, and what is added to it. */
import { layerKeys } from '../../core/layer-key.js';
import type { BlobStore } from '../store/blob-store.js';
import type { StoredImage } from '../store/image-records.js';
import type { LayerStore } from '../store/layer-store.js';
import type { PulledImage } from './pull-work.js';

/** Whether everything it is made of is there. */
export function isWhole(
  { layers: diffIds, blobs: documents, layerBlobs }: StoredImage,
  layers: LayerStore,
  blobs: BlobStore,
): boolean {
  return (
    layerKeys(diffIds, layers.keyedBy).every(({ key }) => layers.has(key)) &&
    [...documents, ...layerBlobs].every((digest) => blobs.has(digest))
  );
}

/** Whether a pull has found nothing but what the image's record says. */
export function isKnown(
  { record, blobs: documents, layerBlobs, publicDigests }: PulledImage,
  image: StoredImage,
  blobs: BlobStore,
): boolean {
  return (
    record.repoTags.every((tag) => image.repoTags.includes(tag)) &&
    record.repoDigests.every((name) => image.repoDigests.includes(name)) &&
    publicDigests.every((name) => image.publicDigests.includes(name)) &&
    layerBlobs.every((digest) => image.layerBlobs.includes(digest)) &&
    [...documents.keys()].every((digest) => image.blobs.includes(digest) && blobs.has(digest))
  );
}

/** What the record of an image says after a pull: its own names and blobs, and those of before. */
export function mergePulled(
  before: StoredImage | undefined,
  { record, blobs: documents, fileBlobs = [], layerBlobs, publicDigests }: PulledImage,
  blobs: BlobStore,
  sequence: number,
): StoredImage {
  const merged = {
    ...record,
    repoTags: union(before?.repoTags, record.repoTags),
    repoDigests: union(before?.repoDigests, record.repoDigests),
    blobs: union(before?.blobs, [...documents.keys(), ...fileBlobs]),
    layerBlobs: union(before?.layerBlobs, layerBlobs),
    publicDigests: union(before?.publicDigests, publicDigests),
    sequence,
  };
  const blobSizes = [...merged.blobs, ...merged.layerBlobs].flatMap(
    (digest): StoredImage['blobSizes'] => {
      const size = blobs.size(digest);
      return size === undefined ? [] : [[digest, size]];
    },
  );
  return { ...merged, blobSizes };
}

function union(before: readonly string[] | undefined, added: readonly string[]): string[] {
  return [...new Set([...(before ?? []), ...added])];
}
