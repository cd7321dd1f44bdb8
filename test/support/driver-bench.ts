/** What the contract's tests need of a storage driver: layers put in, roots looked at, agents killed. */
import { closeSync, openSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseContainerId, type ContainerId, type ImageId } from '../../src/core/ids.js';
import { layerKeys } from '../../src/core/layer-key.js';
import type { ImageRecord } from '../../src/core/model.js';
import type {
  LayerDraft,
  LayerKey,
  RootfsOptions,
  StorageDriver,
  StoredLayer,
} from '../../src/core/ports/storage.js';
import { createUnpack } from '../../src/images/unpack/unpack-process.js';
import { loadAddon } from '../../src/native/binding.js';
import { ProcessSpawner } from '../../src/native/process.js';
import type { DriverPlace } from '../integration/storage/driver-contract.js';
import { digestOf } from './oci-image.js';
import { makeTar, type TarEntry } from './tar.js';
import { makeTempFolder } from './temp.js';

export type Layer = readonly TarEntry[];

/** One place at a time, from `begin` to `end`. */
export class DriverBench {
  #place: DriverPlace | undefined;
  #driver: StorageDriver | undefined;
  #spawner: ProcessSpawner | undefined;
  #temp = '';
  #mounts = new Set<number>();

  async begin(place: DriverPlace): Promise<void> {
    this.#place = place;
    this.#spawner = new ProcessSpawner(loadAddon());
    // Archives lie elsewhere: the place may be full.
    this.#temp = makeTempFolder('/dev/shm');
    await this.reopen();
  }

  async end(): Promise<void> {
    for (const fd of this.#mounts) closeSync(fd);
    this.#mounts.clear();
    this.#spawner?.close();
    if (this.#temp !== '') rmSync(this.#temp, { recursive: true });
    this.#temp = '';
    const place = this.#place;
    this.#place = undefined;
    await place?.destroy();
  }

  get driver(): StorageDriver {
    if (!this.#driver) throw new Error('the driver has not been opened');
    return this.#driver;
  }

  /** As after a kill of the agent: what the driver had in memory is gone. Answers the layers' keys. */
  async reopen(): Promise<string[]> {
    if (!this.#place) throw new Error('there is no place');
    this.#driver = await this.#place.open();
    const { layers } = await this.#driver.loadLayers();
    return layers.map(({ key }) => key);
  }

  /** Keys of these layers in one image, bottom first. */
  keys(layers: readonly Layer[]): LayerKey[] {
    return layerKeys(
      layers.map((layer) => digestOf(makeTar(layer))),
      this.driver.keyedBy,
    );
  }

  /** The layers of an image, but those that are there, and the image. */
  async image(...layers: Layer[]): Promise<ImageRecord> {
    const made = new Set<string>();
    const { layers: there } = await this.driver.loadLayers();
    for (const { key } of there) made.add(key);
    for (const [i, key] of this.keys(layers).entries()) {
      if (made.has(key.key)) continue;
      await this.addLayer(key, layers[i] ?? []);
      made.add(key.key);
    }
    return this.record(layers);
  }

  /** An image of layers that may not be there. */
  record(layers: readonly Layer[]): ImageRecord {
    return imageOf(layers.map((layer) => digestOf(makeTar(layer))));
  }

  async addLayer(key: LayerKey, layer: Layer): Promise<StoredLayer> {
    const draft = await this.driver.draftLayer(key);
    try {
      return await draft.commit(await this.unpack(draft, key, layer));
    } catch (error) {
      await draft.discard();
      throw error;
    }
  }

  /** By the real helper. */
  async unpack(
    draft: LayerDraft,
    { diffId }: LayerKey,
    layer: Layer,
  ): ReturnType<ReturnType<typeof createUnpack>> {
    const archive = join(this.#temp, 'layer.tar');
    const content = makeTar(layer);
    writeFileSync(archive, content);
    const blobFd = openSync(archive, 'r');
    unlinkSync(archive);
    if (!this.#spawner) throw new Error('there is no place');
    try {
      return await createUnpack(this.#spawner)({
        ...{ diffId, blobFd, offset: 0, length: content.length, digest: '' },
        ...{ targetFd: draft.targetFd, mode: draft.mode, allowXz: false },
        signal: new AbortController().signal,
        onBytes: () => undefined,
      });
    } finally {
      closeSync(blobFd);
    }
  }

  /** A mount that ends with the test, at the latest. */
  async mount(id: ContainerId, image: ImageRecord, options?: RootfsOptions): Promise<number> {
    return this.hold(await this.driver.mount(id, image, options));
  }

  hold(fd: number): number {
    this.#mounts.add(fd);
    return fd;
  }

  unmount(fd: number): void {
    this.#mounts.delete(fd);
    closeSync(fd);
  }

  /** Calls `look` with a path to the merged root and its descriptor. */
  async merged<T>(
    id: ContainerId,
    image: ImageRecord,
    look: (root: string, fd: number) => T | Promise<T>,
  ): Promise<T> {
    const fd = await this.mount(id, image);
    try {
      // Not /proc/self: programs that a test starts take it, too.
      return await look(`/proc/${process.pid}/fd/${fd}`, fd);
    } finally {
      this.unmount(fd);
    }
  }
}

/** Ids of containers, each its own. */
export function containerId(digit: number): ContainerId {
  return parseContainerId(digit.toString(16).padStart(2, '0').repeat(32));
}

/** An image of nothing but layers. */
export function imageOf(layers: string[]): ImageRecord {
  return {
    version: 1,
    id: `sha256:${'0'.repeat(64)}` as ImageId,
    repoTags: [],
    repoDigests: [],
    size: 1,
    layers,
    config: {
      ...{ user: '', env: [], entrypoint: [], cmd: [], workingDir: '', volumes: [] },
      ...{ stopSignal: '', labels: [] },
    },
    createdAt: '',
    pulledAt: '0',
  };
}
