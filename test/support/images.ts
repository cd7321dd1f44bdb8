/** An image store over the real unpack helper. */
import { dirname, join } from 'node:path';
import type { OpenRegistry } from '../../src/images/source/image-origin-source.js';
import { FolderImageStore } from '../../src/images/image-store.js';
import { ImagePolicy } from '../../src/images/signature/image-policy.js';
import { createUnpack } from '../../src/images/unpack/unpack-process.js';
import { hexOf } from '../../src/core/digest.js';
import type { ImageId } from '../../src/core/ids.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import { OverlayStorage } from '../../src/storage/overlay-storage.js';

export interface OpenedImages {
  store: FolderImageStore;
  storage: OverlayStorage;
  root: string;
  close: () => void;
}

export interface ImagesOptions {
  bootId?: string;
  /** When new layers are measured; not at all in the time of a test without it. */
  quietMs?: number;
  /** Images that containers stand on. */
  inUse?: () => ReadonlySet<ImageId>;
  /** Path of a storage.cfg. */
  storageConfig?: string;
}

/** `policy` is the path of a policy file; without one everything is accepted. */
export async function openImages(
  root: string,
  openRegistry?: OpenRegistry,
  policy?: string,
  {
    bootId = 'boot-1',
    quietMs = 600_000,
    inUse = () => new Set(),
    storageConfig,
  }: ImagesOptions = {},
): Promise<OpenedImages> {
  const addon = loadAddon();
  const spawner = new ProcessSpawner(addon);
  const storage = await OverlayStorage.open({
    root: join(dirname(root), 'rootfs'),
    layersRoot: join(root, 'layers'),
    addon,
  });
  const store = await FolderImageStore.open({
    root,
    bootId,
    quietMs,
    layers: storage,
    mountVolume: (options) => addon.mountVolume(options),
    unpack: createUnpack(spawner),
    openRegistry: openRegistry ?? (() => Promise.reject(new Error('no registry in this test'))),
    ...(storageConfig !== undefined && { storageConfig }),
    ...(policy !== undefined && { readPolicy: () => ImagePolicy.read(policy) }),
  });
  await store.startCollecting(inUse);
  return {
    store,
    storage,
    root,
    close: () => {
      spawner.close();
    },
  };
}

/** Folder of a layer's files, as the overlay driver has it. */
export function layerFiles(imagesRoot: string, diffId: string): string {
  return join(imagesRoot, 'layers', hexOf(diffId), 'fs');
}
