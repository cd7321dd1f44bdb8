/** An image store over the real unpack helper. */
import { FolderImageStore, type OpenRegistry } from '../../src/images/image-store.js';
import { createUnpack } from '../../src/images/unpack-process.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';

export interface OpenedImages {
  store: FolderImageStore;
  root: string;
  close: () => void;
}

export async function openImages(root: string, openRegistry?: OpenRegistry): Promise<OpenedImages> {
  const spawner = new ProcessSpawner(loadAddon());
  const store = await FolderImageStore.open({
    root,
    unpack: createUnpack(spawner),
    openRegistry: openRegistry ?? (() => Promise.reject(new Error('no registry in this test'))),
  });
  return {
    store,
    root,
    close: () => {
      spawner.close();
    },
  };
}
