/** What layers are filed under: by their own content, or by it and all the content below. */
import { sha256Of } from './digest.js';
import type { LayerKey, LayerKeyKind } from './ports/storage.js';

/** The layers of an image, bottom first; `diffIds` as in an image config. */
export function layerKeys(diffIds: readonly string[], kind: LayerKeyKind): LayerKey[] {
  if (kind === 'diff') return diffIds.map((diffId) => ({ key: diffId, diffId, parent: null }));
  const keys: LayerKey[] = [];
  let parent: string | null = null;
  for (const diffId of diffIds) {
    const key: string = chainId(parent, diffId);
    keys.push({ key, diffId, parent });
    parent = key;
  }
  return keys;
}

/** OCI image-spec, config.md, "Layer ChainID". */
function chainId(parent: string | null, diffId: string): string {
  return parent === null ? diffId : sha256Of(`${parent} ${diffId}`);
}
