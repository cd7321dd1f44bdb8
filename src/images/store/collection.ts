/** Removes the blobs and layers that nobody needs. */
import { sha256Of } from '../../core/digest.js';
import { RuntimeError } from '../../core/errors.js';
import type { ImageId } from '../../core/ids.js';
import { parseImageConfig } from '../../core/image-config.js';
import { layerKeys } from '../../core/layer-key.js';
import { MAX_CONFIG_BYTES } from '../../core/oci.js';
import type { BlobStore } from './blob-store.js';
import type { SetAside, StoredImage } from './image-records.js';
import type { LayerStore } from './layer-store.js';
import { readDocument } from './stored-manifest.js';

export interface Needs {
  images: readonly StoredImage[];
  /** By id: their containers may stand on their layers. */
  setAside: ReadonlyMap<string, SetAside>;
  /** Images that containers stand on, listed or not. */
  inUse: ReadonlySet<ImageId>;
}

export async function collectGarbage(
  blobs: BlobStore,
  layers: LayerStore,
  { images, setAside, inUse }: Needs,
): Promise<void> {
  const needed = new Set(images.flatMap((image) => [...image.blobs, ...image.layerBlobs]));
  // Its config says which layers an image has, should its record be lost.
  for (const id of inUse) needed.add(id);
  await blobs.collect(needed);
  const layersOf = new Map<string, readonly string[]>();
  for (const image of images) layersOf.set(image.id, image.layers);
  const keysOf = (diffIds: readonly string[]): string[] =>
    layerKeys(diffIds, layers.keyedBy).map(({ key }) => key);
  const keysInUse = new Set<string>();
  for (const id of inUse) {
    const diffIds =
      layersOf.get(id) ?? setAside.get(id)?.image?.layers ?? (await readDiffIds(blobs, id));
    // Nobody knows what its containers stand on: it may be anything.
    if (diffIds === undefined) return;
    for (const key of keysOf(diffIds)) keysInUse.add(key);
  }
  const keys = [...layersOf.values()].flatMap(keysOf);
  await layers.collect(new Set([...keys, ...keysInUse]), keysInUse);
}

async function readDiffIds(blobs: BlobStore, id: ImageId): Promise<string[] | undefined> {
  try {
    const config = await readDocument(blobs, id, MAX_CONFIG_BYTES);
    if (config === undefined || sha256Of(config) !== id) return undefined;
    return parseImageConfig(config, `config ${id}`).diffIds;
  } catch (error) {
    if (error instanceof RuntimeError) return undefined;
    throw error;
  }
}
