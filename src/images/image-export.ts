/** Images that leave the store: to a registry, or into an archive. */
import { RuntimeError, wrap } from '../core/errors.js';
import type { ImageId } from '../core/ids.js';
import { parseImageReference } from '../core/image-reference.js';
import type { ImageRecord } from '../core/model.js';
import type {
  ArchiveFormat,
  PushedImage,
  PushOptions,
  RegistryAuth,
} from '../core/ports/images.js';
import type { BlobStore } from './store/blob-store.js';
import type { StoredImage } from './store/image-records.js';
import { saveImages } from './archive/image-save.js';
import type { PushImage } from './registry/push.js';
import { storedManifest } from './store/stored-manifest.js';
import type { Unpack } from './unpack/unpack-process.js';

export interface ExportParts {
  blobs: BlobStore;
  unpack: Unpack;
  temporaryFolder: string;
  /** undefined where there is no way to a registry. */
  pushImage: PushImage | undefined;
}

export async function pushStored(
  { blobs, pushImage }: ExportParts,
  image: StoredImage,
  destination: string,
  auth: RegistryAuth | null,
  { signal, onProgress }: PushOptions,
): Promise<PushedImage> {
  const target = parseImageReference(destination);
  if (!pushImage) throw new RuntimeError('unimplemented', 'there is no way to a registry');
  const unpin = blobs.pin([...image.blobs, ...image.layerBlobs]);
  try {
    const { digest } = await storedManifest(blobs, image);
    return await pushImage({
      reference: target,
      digest,
      blobs,
      auth,
      mountFrom: repositoriesIn(target.registry, image),
      signal,
      onProgress,
    });
  } catch (error) {
    if (!signal.aborted) throw wrap(error, `cannot push image ${image.id} to ${destination}`);
    throw new RuntimeError('cancelled', `the push to ${destination} was cancelled`, error);
  } finally {
    unpin();
  }
}

/** `chosen` has an image once for each way it was named: by this tag, or by none. */
export function saveStored(
  parts: ExportParts,
  chosen: readonly { image: StoredImage; tag: string | undefined }[],
  format: ArchiveFormat,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const images = new Map<ImageId, { image: StoredImage; names: Set<string> }>();
  for (const { image, tag } of chosen) {
    const found = images.get(image.id) ?? { image, names: new Set() };
    for (const name of tag === undefined ? image.repoTags : [tag]) found.names.add(name);
    images.set(image.id, found);
  }
  const saved = [...images.values()].map(({ image, names }) => ({ image, names: [...names] }));
  return saveImages({ ...parts, signal }, saved, format);
}

/** Repositories of a registry that the image has a name in. */
function repositoriesIn(registry: string, { repoTags, repoDigests }: ImageRecord): string[] {
  const references = [...repoTags, ...repoDigests].map(parseImageReference);
  const there = references.filter((reference) => reference.registry === registry);
  return [...new Set(there.map(({ repository }) => repository))];
}
