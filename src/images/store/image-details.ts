/** Reads an image's own documents again, for whoever wants to see them. */
import { parseImageConfig } from '../../core/image-config.js';
import type { ImageDetails } from '../../core/image-details.js';
import { RuntimeError } from '../../core/errors.js';
import { layerKeys } from '../../core/layer-key.js';
import { formatPlatform, MAX_CONFIG_BYTES } from '../../core/oci.js';
import { parseStrictJson } from '../../core/strict-json.js';
import type { BlobStore } from './blob-store.js';
import type { StoredImage } from './image-records.js';
import type { LayerStore } from './layer-store.js';
import { readDocument, storedManifest, type StoredManifest } from './stored-manifest.js';

export async function imageDetails(
  blobs: BlobStore,
  layers: LayerStore,
  image: StoredImage,
): Promise<ImageDetails> {
  // An artifact's id is its manifest's, and its config is nobody's.
  const config = image.files ? undefined : await readDocument(blobs, image.id, MAX_CONFIG_BYTES);
  const what = `config ${image.id}`;
  const kept = await manifestOf(blobs, image);
  return {
    manifestDigest: kept?.digest ?? '',
    mediaType: kept?.mediaType ?? '',
    platform: config ? formatPlatform(parseImageConfig(config, what).platform) : '',
    layers: layerKeys(image.layers, layers.keyedBy).map(({ key, diffId }, index) => {
      const descriptor = kept?.manifest.layers[index];
      return {
        diffId,
        digest: descriptor?.digest ?? '',
        size: descriptor?.size ?? 0,
        mediaType: descriptor?.mediaType ?? '',
        unpackedBytes: layers.bytesOf(key),
      };
    }),
    imageSpec: config ? parseStrictJson(config, what, MAX_CONFIG_BYTES) : null,
  };
}

/** undefined for an image of a version of the agent that kept less. */
async function manifestOf(
  blobs: BlobStore,
  image: StoredImage,
): Promise<StoredManifest | undefined> {
  try {
    return await storedManifest(blobs, image);
  } catch (error) {
    if (error instanceof RuntimeError && error.kind === 'failed-precondition') return undefined;
    throw error;
  }
}
