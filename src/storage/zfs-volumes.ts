/** Volumes as ZFS datasets below one of the administrator's. */
import { randomUUID } from 'node:crypto';
import { RuntimeError } from '../core/errors.js';
import type { OwnedFd } from '../core/ports/network.js';
import type { NativeAddon } from '../native/binding.js';
import type { ProcessSpawner } from '../native/process.js';
import {
  classified,
  createStorageCommand,
  requireName,
  type StorageCommand,
} from './storage-command.js';
import type { Volume, VolumeName, Volumes } from './volumes.js';

export interface ZfsVolumesOptions {
  spawner: ProcessSpawner;
  addon: Pick<NativeAddon, 'mountFilesystem'>;
  /** It exists, and all datasets below it are ours. */
  dataset: string;
  /** What each container may write; 0 for no limit. */
  sizeLimitBytes: number;
  /** Names the agent: two with the same dataset would take away each other's. */
  owner: string;
}

const OWNER = 'pvecri:owner';
const NOTE = 'pvecri:note';
/** A dataset is cloned from this snapshot of it, and from no other. */
const SNAPSHOT = 'pvecri';
/** `trash/<word>` is no volume any more, but something that was cloned from it is still there. */
const KINDS = ['layer', 'draft', 'root', 'trash'];
/** zfs(8) "ZFS File System Hierarchy"; the names below it have 80 bytes of its 255. */
const DATASET = /^(?=.{1,160}$)[A-Za-z][A-Za-z0-9_.:-]*(\/[A-Za-z0-9_.:-]+)*$/;
const FAILURES = [
  [/already exists/, 'already-exists'],
  [/is busy/, 'failed-precondition'],
  [/out of space|quota exceeded/, 'resource-exhausted'],
] as const;
/** Nothing is mounted by zfs itself, which would show it on the host. */
const PROPERTIES = ['mountpoint=legacy', 'xattr=sa', 'acltype=posixacl', 'relatime=on'];

export class ZfsVolumes implements Volumes {
  readonly place: string;
  readonly #options: ZfsVolumesOptions;
  readonly #dataset: string;
  readonly #run: StorageCommand;

  private constructor(options: ZfsVolumesOptions) {
    this.#options = options;
    this.#dataset = options.dataset;
    this.place = `ZFS dataset ${options.dataset}`;
    const run = createStorageCommand(options.spawner, { zfs: 'zfsutils-linux' });
    this.#run = async (program, ...args) => {
      try {
        return await run(program, ...args);
      } catch (error) {
        throw classified(error, FAILURES);
      }
    };
  }

  /** An error when the dataset is not there, or is another agent's. */
  static async open(options: ZfsVolumesOptions): Promise<ZfsVolumes> {
    const expects = 'the name of a dataset, of at most 160 characters';
    requireName(DATASET, 'rootfs.zfs.dataset', options.dataset, expects);
    const volumes = new ZfsVolumes(options);
    await volumes.#take();
    await volumes.#emptyTrash();
    return volumes;
  }

  async list(): Promise<Volume[]> {
    const rows = await this.#table([NOTE, 'origin']);
    return rows.flatMap(([path = '', note = '', origin = '']) => {
      const name = this.#volumeName(path);
      if (name === undefined || name.startsWith('trash/')) return [];
      const parent = this.#volumeName(origin.split('@')[0] ?? '') ?? null;
      return [{ name, note: note === '-' ? '' : note, origin: parent }];
    });
  }

  async make(name: VolumeName): Promise<void> {
    await this.#run('zfs', 'create', ...propertyOptions(PROPERTIES), this.#path(name));
  }

  async clone(origin: VolumeName, name: VolumeName, note: string): Promise<void> {
    const properties = [...PROPERTIES, ...(note === '' ? [] : [`${NOTE}=${note}`])];
    const limit = this.#options.sizeLimitBytes;
    if (limit > 0 && name.startsWith('root/')) {
      // It counts all a dataset refers to, also what it has from its origin.
      const before = await this.#value(this.#snapshot(origin), 'referenced');
      properties.push(`refquota=${Number(before) + limit}`);
    }
    await this.#run(
      'zfs',
      ...['clone', ...propertyOptions(properties), this.#snapshot(origin), this.#path(name)],
    );
  }

  async seal(name: VolumeName, note: string): Promise<void> {
    await this.#run('zfs', 'snapshot', this.#snapshot(name));
    await this.#run('zfs', 'set', `${NOTE}=${note}`, this.#path(name));
  }

  async rename(from: VolumeName, to: VolumeName): Promise<void> {
    await this.#run('zfs', 'rename', this.#path(from), this.#path(to));
  }

  /**
   * A dataset cannot go before what was cloned from it. It is out of the way at once, and goes with the
   * last of those.
   */
  async remove(name: VolumeName): Promise<void> {
    try {
      await this.#run('zfs', 'destroy', '-r', this.#path(name));
    } catch (error) {
      if (isMissing(error)) return;
      if (!hasClones(error)) throw error;
      const grave = `trash/${randomUUID().replaceAll('-', '')}`;
      await this.#run('zfs', 'rename', this.#path(name), this.#path(grave));
      return;
    }
    await this.#emptyTrash();
  }

  mount(name: VolumeName, userNamespace?: number): Promise<OwnedFd> {
    return this.#options.addon.mountFilesystem({
      type: 'zfs',
      source: this.#path(name),
      options: [],
      ...(userNamespace !== undefined && { userNamespace }),
    });
  }

  mountSealed(name: VolumeName, userNamespace?: number): Promise<OwnedFd> {
    const source = this.#snapshot(name);
    return this.#options.addon.mountFilesystem({
      ...{ type: 'zfs', source, options: ['ro'] },
      ...(userNamespace !== undefined && { userNamespace }),
    });
  }

  async ownBytes(): Promise<ReadonlyMap<VolumeName, number>> {
    const rows = await this.#table(['used']);
    return new Map(
      rows.flatMap(([path = '', used = '']) => {
        const name = this.#volumeName(path);
        return name === undefined ? [] : [[name, Number(used)] as const];
      }),
    );
  }

  /** The administrator may have mounted the parent; ours are nowhere to be seen. */
  async mountpoint(): Promise<string | undefined> {
    const [mounted, path] = (await this.#values(['mounted', 'mountpoint'])) as [string, string];
    return mounted === 'yes' && path.startsWith('/') ? path : undefined;
  }

  /** Two agents would remove each other's containers. */
  async #take(): Promise<void> {
    let owner: string;
    try {
      owner = await this.#value(this.#dataset, OWNER);
    } catch (error) {
      if (!isMissing(error)) throw error;
      throw new RuntimeError(
        'failed-precondition',
        `rootfs.zfs.dataset: ${this.#dataset} is not there: make it by zfs create ${this.#dataset}, or name another`,
        error,
      );
    }
    if (owner !== '-' && owner !== this.#options.owner) {
      throw new RuntimeError(
        'failed-precondition',
        `rootfs.zfs.dataset: ${this.#dataset} is another agent's: give each one of its own, or run zfs inherit ${OWNER} ${this.#dataset} when that agent is gone`,
      );
    }
    const below = await this.#table([]);
    if (owner === '-') {
      const strange = below.find(([path]) => path !== this.#dataset)?.[0];
      if (strange !== undefined) {
        throw new RuntimeError(
          'failed-precondition',
          `rootfs.zfs.dataset: ${strange} is below it: name a dataset that has none`,
        );
      }
      await this.#run('zfs', 'set', `${OWNER}=${this.#options.owner}`, this.#dataset);
    }
    for (const kind of KINDS) {
      const folder = `${this.#dataset}/${kind}`;
      if (below.some(([path]) => path === folder)) continue;
      await this.#run('zfs', 'create', ...propertyOptions(PROPERTIES), folder);
    }
  }

  async #emptyTrash(): Promise<void> {
    const grave = `${this.#dataset}/trash/`;
    const rows = await this.#table([]);
    const left = new Set(rows.flatMap(([path = '']) => (path.startsWith(grave) ? [path] : [])));
    // Children first: each round frees those that only the round before held.
    for (let before = -1; before !== left.size;) {
      before = left.size;
      for (const path of [...left]) {
        try {
          await this.#run('zfs', 'destroy', '-r', path);
          left.delete(path);
        } catch (error) {
          const isHeld = error instanceof RuntimeError && error.kind === 'failed-precondition';
          if (isMissing(error)) left.delete(path);
          else if (!hasClones(error) && !isHeld) throw error;
        }
      }
    }
  }

  /** Each dataset with the properties asked for. */
  async #table(properties: string[]): Promise<string[][]> {
    const columns = ['name', ...properties].join(',');
    const text = await this.#run(
      'zfs',
      ...['list', '-Hp', '-r', '-t', 'filesystem', '-o', columns, this.#dataset],
    );
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t'));
  }

  async #value(path: string, property: string): Promise<string> {
    return (await this.#run('zfs', 'get', '-Hp', '-o', 'value', property, path)).trim();
  }

  async #values(properties: string[]): Promise<string[]> {
    const args = ['get', '-Hp', '-o', 'value', properties.join(','), this.#dataset];
    return (await this.#run('zfs', ...args)).trim().split('\n');
  }

  #path(name: VolumeName): string {
    return `${this.#dataset}/${name}`;
  }

  #snapshot(name: VolumeName): string {
    return `${this.#path(name)}@${SNAPSHOT}`;
  }

  #volumeName(path: string): VolumeName | undefined {
    const name = path.startsWith(`${this.#dataset}/`) ? path.slice(this.#dataset.length + 1) : '';
    return name === 'base' || KINDS.some((kind) => name.startsWith(`${kind}/`)) ? name : undefined;
  }
}

function propertyOptions(properties: readonly string[]): string[] {
  return properties.flatMap((property) => ['-o', property]);
}

function isMissing(error: unknown): boolean {
  return error instanceof RuntimeError && error.message.includes('does not exist');
}

function hasClones(error: unknown): boolean {
  return error instanceof RuntimeError && /has dependent clones|has children/.test(error.message);
}
