/** Layers and root filesystems as volumes, each a clone of the one below: LVM-thin and ZFS. */
import { randomUUID } from 'node:crypto';
import { close as closeCallback } from 'node:fs';
import { mkdir, realpath, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { hexOf } from '../core/digest.js';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { parseContainerId, type ContainerId } from '../core/ids.js';
import { layerKeys } from '../core/layer-key.js';
import type { ImageRecord } from '../core/model.js';
import type { OwnedFd } from '../core/ports/network.js';
import type {
  LayerDraft,
  LayerKey,
  LoadedLayers,
  RootfsOptions,
  RootfsStorage,
  StorageDriver,
  StoredLayer,
  UnpackReport,
} from '../core/ports/storage.js';
import type { NativeAddon } from '../native/binding.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import { mountpointOf } from '../util/mountinfo.js';
import {
  formatFillNote,
  formatLayerNote,
  parseFillNote,
  parseLayerNote,
  type Fill,
  type LayerNote,
  type Volume,
  type VolumeName,
  type Volumes,
} from './volumes.js';

// On a thread: the last descriptor of a mount writes back what is left of its file system.
const close = promisify(closeCallback);

const BASE = 'base';
/** A folder that nothing is in: where a mount is for a moment, seen by nobody. */
const EMPTY = '.empty';
/** After a container's end its mount namespace goes in the background. */
const BUSY_MS = 5000;
/** Figures older than this are read again. */
const FRESH_MS = 5000;

export interface VolumeStorageOptions {
  volumes: Volumes;
  /** A folder of the agent's. */
  root: string;
  addon: Pick<NativeAddon, 'mountVolume'>;
}

type Usage = Awaited<ReturnType<RootfsStorage['usage']>>;

/**
 * `base` is an empty file system; `layer/<hex of chain id>` a clone of its parent or of that, changed;
 * `root/<container id>` a clone of a layer. A layer appears by a rename of its draft, whole and synced.
 */
export class VolumeStorage implements StorageDriver {
  readonly keyedBy = 'chain';
  readonly #volumes: Volumes;
  readonly #addon: VolumeStorageOptions['addon'];
  readonly #place: string;
  readonly #mountpoint: string;
  readonly #layers = new Map<string, LayerNote>();
  readonly #newer: LoadedLayers['newer'] = new Map();
  /** What the file system of a container had in use before the container wrote to it. */
  readonly #roots = new Map<ContainerId, Fill>();
  #base: Fill = { bytes: 0, inodes: 0 };
  readonly #locks = new KeyedMutex();
  readonly #usage = new Map<ContainerId, { at: number; usage: Promise<Usage> }>();
  #ownBytes: { at: number; bytes: Promise<ReadonlyMap<VolumeName, number>> } | undefined;

  private constructor(options: VolumeStorageOptions, mountpoint: string) {
    this.#volumes = options.volumes;
    this.#addon = options.addon;
    this.#place = join(options.root, EMPTY);
    this.#mountpoint = mountpoint;
  }

  /** Takes away what an earlier agent has left half done. */
  static async open(options: VolumeStorageOptions): Promise<VolumeStorage> {
    const { root, volumes } = options;
    await mkdir(join(root, EMPTY), { recursive: true, mode: 0o700 });
    const seen = await volumes.mountpoint?.();
    const storage = new VolumeStorage(options, seen ?? mountpointOf(await realpath(root)));
    await storage.#recover();
    return storage;
  }

  loadLayers(): Promise<LoadedLayers> {
    const layers = [...this.#layers].map(([key, note]) => ({ key, ...note.layer }));
    return Promise.resolve({ layers, newer: new Map(this.#newer) });
  }

  async draftLayer({ key, parent }: LayerKey): Promise<LayerDraft> {
    const draft = `draft/${randomUUID().replaceAll('-', '')}`;
    const origin = parent === null ? BASE : this.#layerVolume(parent);
    let fd: OwnedFd | undefined;
    try {
      await this.#volumes.clone(origin, draft, '');
      fd = await this.#volumes.mount(draft);
    } catch (error) {
      await this.#removeVolume(draft, BUSY_MS);
      throw wrap(error, `cannot make a volume for layer ${key}`);
    }
    const opened = fd;
    let isOpen = true;
    const unmount = async (): Promise<void> => {
      if (isOpen) {
        isOpen = false;
        await close(opened);
      }
    };
    return {
      targetFd: opened,
      mode: 'apply',
      commit: async (unpacked) => {
        const fill = await fillOf(opened);
        await unmount();
        return this.#commit(draft, key, unpacked, fill);
      },
      discard: async () => {
        await unmount();
        await this.#removeVolume(draft, BUSY_MS);
      },
    };
  }

  async removeLayer(key: string): Promise<void> {
    this.#layers.delete(key);
    try {
      await this.#removeVolume(`layer/${hexOf(key)}`, BUSY_MS);
    } catch (error) {
      throw wrap(error, `cannot remove layer ${key}`);
    }
  }

  prepare(id: ContainerId, image: ImageRecord): Promise<void> {
    const top = layerKeys(image.layers, this.keyedBy).at(-1);
    return this.#locks.run(id, async () => {
      const fill = top === undefined ? this.#base : this.#layer(top.key).fill;
      try {
        const origin = top === undefined ? BASE : this.#layerVolume(top.key);
        await this.#volumes.clone(origin, `root/${id}`, formatFillNote('root', fill));
        this.#roots.set(id, fill);
      } catch (error) {
        throw wrap(error, `cannot make the root filesystem of container ${id}`);
      }
    });
  }

  mount(
    id: ContainerId,
    _image: ImageRecord,
    { userNamespace }: RootfsOptions = {},
  ): Promise<OwnedFd> {
    return this.#locks.run(id, async () => {
      try {
        return await this.#volumes.mount(`root/${id}`, userNamespace);
      } catch (error) {
        throw wrap(error, `cannot mount the root filesystem of container ${id}`);
      }
    });
  }

  async mountImage(
    image: ImageRecord,
    subPath: string,
    { userNamespace }: RootfsOptions = {},
  ): Promise<OwnedFd> {
    const top = layerKeys(image.layers, this.keyedBy).at(-1);
    const name = top === undefined ? BASE : this.#layerVolume(top.key);
    const whole = await this.#volumes.mountSealed(name, userNamespace);
    try {
      return await this.#addon.mountVolume({ whole, place: this.#place, subPath });
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw error;
      throw new RuntimeError(
        'not-found',
        `${JSON.stringify(subPath.slice(0, 300))} is no folder in image ${image.id}`,
        error,
      );
    } finally {
      await close(whole);
    }
  }

  usage(id: ContainerId): Promise<Usage> {
    const known = this.#usage.get(id);
    if (known && Date.now() - known.at < FRESH_MS) return known.usage;
    const usage = this.#locks.run(id, () => this.#measure(id));
    this.#usage.set(id, { at: Date.now(), usage });
    usage.catch(() => this.#usage.delete(id));
    return usage;
  }

  remove(id: ContainerId): Promise<void> {
    return this.#locks.run(id, async () => {
      this.#usage.delete(id);
      try {
        await this.#removeVolume(`root/${id}`, BUSY_MS);
        this.#roots.delete(id);
      } catch (error) {
        throw wrap(error, `cannot remove the root filesystem of container ${id}`);
      }
    });
  }

  async list(): Promise<ContainerId[]> {
    return (await this.#volumes.list()).flatMap(({ name }) => containerIds(name));
  }

  mountpoint(): string {
    return this.#mountpoint;
  }

  async #recover(): Promise<void> {
    const volumes = await this.#volumes.list();
    for (const { name } of volumes.filter((volume) => volume.name.startsWith('draft/'))) {
      try {
        await this.#volumes.remove(name);
      } catch (error) {
        // The unpacker of an agent that was killed still has it; the next start takes it away.
        if (!(error instanceof RuntimeError) || error.kind !== 'failed-precondition') throw error;
      }
    }
    for (const volume of parentsFirst(volumes)) await this.#takeLayer(volume);
    for (const { name, note } of volumes) {
      const [id] = containerIds(name);
      const fill = id && (parseFillNote('root', note, name) ?? { bytes: 0, inodes: 0 });
      if (id && fill) this.#roots.set(id, fill);
    }
    await this.#takeBase(volumes.find(({ name }) => name === BASE));
  }

  async #takeLayer({ name, note }: Volume): Promise<void> {
    const key = `sha256:${name.slice('layer/'.length)}`;
    try {
      const parsed = parseLayerNote(note, name);
      if (parsed) this.#layers.set(key, parsed);
      else await this.#volumes.remove(name);
    } catch (error) {
      if (!(error instanceof RuntimeError) || error.kind !== 'failed-precondition') throw error;
      this.#newer.set(key, error);
    }
  }

  /** Made once; one without a note is half made. */
  async #takeBase(found: Volume | undefined): Promise<void> {
    const known = found && parseFillNote('base', found.note, BASE);
    if (known) {
      this.#base = known;
      return;
    }
    if (found) await this.#volumes.remove(BASE);
    await this.#volumes.make(BASE);
    this.#base = await this.#measureVolume(BASE);
    await this.#whileBusy(BUSY_MS, () =>
      this.#volumes.seal(BASE, formatFillNote('base', this.#base)),
    );
  }

  async #commit(
    draft: VolumeName,
    key: string,
    { bytes, inodes }: UnpackReport,
    fill: Fill,
  ): Promise<StoredLayer> {
    const note: LayerNote = { layer: { bytes, inodes }, fill };
    await this.#whileBusy(BUSY_MS, () => this.#volumes.seal(draft, formatLayerNote(note)));
    return this.#locks.run(key, async () => {
      const first = this.#layers.get(key);
      if (first) {
        await this.#removeVolume(draft, BUSY_MS);
        return { key, ...first.layer };
      }
      await this.#volumes.rename(draft, `layer/${hexOf(key)}`);
      this.#layers.set(key, note);
      return { key, ...note.layer };
    });
  }

  async #measure(id: ContainerId): Promise<Usage> {
    const name = `root/${id}`;
    const before = this.#roots.get(id);
    if (!before) throw new RuntimeError('not-found', `container ${id} has no root filesystem`);
    const timestamp = BigInt(Date.now()) * 1_000_000n;
    const now = await this.#measureVolume(name);
    const usedBytes = (await this.#own())?.get(name) ?? now.bytes - before.bytes;
    return {
      // What it has removed of the image is no credit.
      usedBytes: Math.max(0, usedBytes),
      inodesUsed: Math.max(0, now.inodes - before.inodes),
      timestamp,
    };
  }

  /** One answer for all containers that are asked for at a time. */
  #own(): Promise<ReadonlyMap<VolumeName, number>> | undefined {
    if (!this.#volumes.ownBytes) return undefined;
    if (!this.#ownBytes || Date.now() - this.#ownBytes.at >= FRESH_MS) {
      this.#ownBytes = { at: Date.now(), bytes: this.#volumes.ownBytes() };
    }
    return this.#ownBytes.bytes;
  }

  async #measureVolume(name: VolumeName): Promise<Fill> {
    const fd = await this.#volumes.mount(name);
    try {
      return await fillOf(fd);
    } finally {
      await close(fd);
    }
  }

  #removeVolume(name: VolumeName, patienceMs: number): Promise<void> {
    return this.#whileBusy(patienceMs, () => this.#volumes.remove(name));
  }

  /** Again while a mount is just going, but not for ever. */
  async #whileBusy(patienceMs: number, work: () => Promise<void>): Promise<void> {
    const end = Date.now() + patienceMs;
    for (let pause = 20; ; pause = Math.min(2 * pause, 500)) {
      try {
        await work();
        return;
      } catch (error) {
        const isBusy = error instanceof RuntimeError && error.kind === 'failed-precondition';
        if (!isBusy || Date.now() + pause > end) throw error;
      }
      await delay(pause);
    }
  }

  #layer(key: string): LayerNote {
    const note = this.#layers.get(key);
    if (note) return note;
    throw new RuntimeError('not-found', `layer ${key} is not there, pull its image again`);
  }

  #layerVolume(key: string): VolumeName {
    this.#layer(key);
    return `layer/${hexOf(key)}`;
  }
}

async function fillOf(fd: OwnedFd): Promise<Fill> {
  const { bsize, blocks, bfree, files, ffree } = await statfs(`/proc/self/fd/${fd}`);
  return { bytes: (blocks - bfree) * bsize, inodes: files - ffree };
}

function parentsFirst(volumes: readonly Volume[]): Volume[] {
  const left = new Map(
    volumes.filter(({ name }) => name.startsWith('layer/')).map((volume) => [volume.name, volume]),
  );
  const sorted: Volume[] = [];
  for (const start of [...left.values()]) {
    const chain: Volume[] = [];
    for (let at: Volume | undefined = start; at && left.delete(at.name);) {
      chain.push(at);
      at = at.origin === null ? undefined : left.get(at.origin);
    }
    sorted.push(...chain.reverse());
  }
  return sorted;
}

/** The container a volume is of; none for any other. */
function containerIds(name: VolumeName): ContainerId[] {
  if (!name.startsWith('root/')) return [];
  try {
    return [parseContainerId(name.slice('root/'.length))];
  } catch (error) {
    if (error instanceof RuntimeError) return [];
    throw error;
  }
}
