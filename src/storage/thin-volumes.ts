/** Volumes in a thin pool of LVM, each with an ext4. */
import { access, rmdir } from 'node:fs/promises';
import { close as closeCallback } from 'node:fs';
import { promisify } from 'node:util';
import { RuntimeError } from '../core/errors.js';
import { asArray, asObject, asString, type JsonObject } from '../core/json-shape.js';
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

const close = promisify(closeCallback);

export interface ThinVolumesOptions {
  spawner: ProcessSpawner;
  addon: Pick<NativeAddon, 'mountFilesystem'>;
  volumeGroup: string;
  /** The thin pool in it. */
  pool: string;
  /** Of each volume; it takes from the pool what is written to it. */
  sizeBytes: number;
  /** Names the agent: two with the same pool would take away each other's volumes. */
  owner: string;
}

const PACKAGES = { lvs: 'lvm2', lvcreate: 'lvm2', 'mkfs.ext4': 'e2fsprogs' };
/** On all of ours and on nothing else: names alone could be somebody's. */
const TAG = 'pvecri';
const NOTE = 'pvecri.note=';
const OWNER = 'pvecri.owner=';
/** Names of Proxmox VE's volumes begin by vm-, base-, subvol- or snap_. */
const PREFIX = 'pvecri-';
/** Fuller than this, a pool takes no new volume: one that overflows damages all of them. */
const FULL_PERCENT = 95;
/** How long an answer to that is good for. */
const SPACE_MS = 2000;
/** lvm(8); the device's name in /dev/mapper has the other 80 bytes. */
const GROUP = /^(?!\.{1,2}$)[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,39}$/;
const FAILURES = [
  [/already exists/i, 'already-exists'],
  [/in use|is used by|still open/i, 'failed-precondition'],
  [/insufficient free|out of (data|metadata) space|no space/i, 'resource-exhausted'],
] as const;

interface LogicalVolume {
  name: string;
  tags: string[];
  origin: string;
  pool: string;
  kind: string;
  size: number;
  dataPercent: number;
  metadataPercent: number;
}

export class ThinVolumes implements Volumes {
  readonly place: string;
  readonly #group: string;
  readonly #pool: string;
  readonly #options: ThinVolumesOptions;
  readonly #run: StorageCommand;
  #hasSpaceUntil = 0;

  private constructor(options: ThinVolumesOptions) {
    this.#options = options;
    this.#group = options.volumeGroup;
    this.#pool = options.pool;
    this.place = `LVM thin pool ${this.#group}/${this.#pool}`;
    const run = createStorageCommand(options.spawner, PACKAGES);
    this.#run = async (program, ...args) => {
      try {
        return await run(program, ...args);
      } catch (error) {
        throw classified(error, FAILURES);
      }
    };
  }

  /** An error when the pool is not there, is none, or is another agent's. Changes nothing. */
  static async open(options: ThinVolumesOptions): Promise<ThinVolumes> {
    const expects = 'a name that LVM takes, of at most 40 characters';
    requireName(GROUP, 'rootfs.lvm_thin.volume_group', options.volumeGroup, expects);
    requireName(GROUP, 'rootfs.lvm_thin.pool', options.pool, expects);
    const volumes = new ThinVolumes(options);
    await volumes.#check();
    return volumes;
  }

  async list(): Promise<Volume[]> {
    return (await this.#ours()).map(({ name, tags, origin }) => ({
      name: volumeName(name),
      note: tags.find((tag) => tag.startsWith(NOTE))?.slice(NOTE.length) ?? '',
      origin: origin.startsWith(PREFIX) ? volumeName(origin) : null,
    }));
  }

  async make(name: VolumeName): Promise<void> {
    const size = `${this.#options.sizeBytes}b`;
    const place = ['--thin', '--virtualsize', size, '--name', lvName(name), this.#path(this.#pool)];
    await this.#create([`--addtag=${OWNER}${this.#options.owner}`, ...place]);
    // Journal and tables lie in the pool once, for all volumes.
    const extended = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0';
    await this.#run('mkfs.ext4', '-q', '-F', '-m', '0', '-E', extended, this.#device(name));
    const fd = await this.mount(name);
    try {
      // A root filesystem has no such folder.
      await rmdir(`/proc/self/fd/${fd}/lost+found`);
    } finally {
      await close(fd);
    }
  }

  async clone(origin: VolumeName, name: VolumeName, note: string): Promise<void> {
    await this.#requireSpace();
    const tags = note === '' ? [] : [`--addtag=${NOTE}${note}`];
    await this.#create([...tags, '--snapshot', '--name', lvName(name), this.#lv(origin)]);
  }

  /** It stays active: what is cloned is frozen by the kernel for the moment, and so whole. */
  async seal(name: VolumeName, note: string): Promise<void> {
    await this.#run('lvchange', `--addtag=${NOTE}${note}`, this.#lv(name));
  }

  async rename(from: VolumeName, to: VolumeName): Promise<void> {
    await this.#run('lvrename', this.#group, lvName(from), lvName(to));
  }

  async remove(name: VolumeName): Promise<void> {
    // Somebody else's may have such a name; none at all is a success.
    const ours = `lv_name=${lvName(name)} && tags=${TAG}`;
    await this.#run('lvremove', '--force', '--select', ours, this.#group);
  }

  mount(name: VolumeName, userNamespace?: number): Promise<OwnedFd> {
    // What is removed goes back to the pool; a pool that is full must not damage any more.
    return this.#mount(name, ['discard', 'errors=remount-ro'], userNamespace);
  }

  mountSealed(name: VolumeName, userNamespace?: number): Promise<OwnedFd> {
    return this.#mount(name, ['ro'], userNamespace);
  }

  async #mount(name: VolumeName, options: string[], userNamespace?: number): Promise<OwnedFd> {
    const source = this.#device(name);
    // Ours are not activated at the boot, but when they are needed.
    if (!(await isThere(source))) {
      await this.#run('lvchange', '--activate', 'y', '--ignoreactivationskip', this.#lv(name));
    }
    return this.#options.addon.mountFilesystem({
      ...{ type: 'ext4', source, options },
      ...(userNamespace !== undefined && { userNamespace }),
    });
  }

  async #requireSpace(): Promise<void> {
    if (Date.now() < this.#hasSpaceUntil) return;
    const [pool] = await this.#report(this.#path(this.#pool));
    for (const [what, percent] of [
      ['data', pool?.dataPercent ?? 0],
      ['metadata', pool?.metadataPercent ?? 0],
    ] as const) {
      if (percent < FULL_PERCENT) continue;
      throw new RuntimeError(
        'resource-exhausted',
        `${this.place} has used ${percent} % of its ${what} space: remove images, or extend it by lvextend`,
      );
    }
    this.#hasSpaceUntil = Date.now() + SPACE_MS;
  }

  async #create(args: string[]): Promise<void> {
    await this.#run(
      'lvcreate',
      ...['--yes', '--quiet', `--addtag=${TAG}`, '--permission', 'rw'],
      ...['--activate', 'y', '--setactivationskip', 'y', '--ignoreactivationskip'],
      ...args,
    );
  }

  async #check(): Promise<void> {
    const all = await this.#report(this.#group);
    const pool = all.find(({ name }) => name === this.#pool);
    if (pool?.kind !== 'thin-pool') {
      const what = pool ? 'is no thin pool' : 'is not there';
      throw new RuntimeError(
        'failed-precondition',
        `rootfs.lvm_thin.pool: ${this.#path(this.#pool)} ${what}: make one by lvcreate --type thin-pool, or name another`,
      );
    }
    const base = all.find(({ name }) => name === lvName('base'));
    if (!base) return;
    const owner = base.tags.find((tag) => tag.startsWith(OWNER))?.slice(OWNER.length);
    if (!base.tags.includes(TAG) || owner !== this.#options.owner) {
      throw new RuntimeError(
        'failed-precondition',
        `logical volume ${this.#lv('base')} is not of this agent: give each agent a volume group of its own, or remove it when nobody needs it`,
      );
    }
    if (base.pool !== this.#pool) {
      throw new RuntimeError(
        'failed-precondition',
        `the volumes of this agent are in thin pool ${this.#path(base.pool)}: set rootfs.lvm_thin.pool to that, or remove ${this.#group}/${PREFIX}* first`,
      );
    }
    // LVM rounds up to whole extents; ext4 is not made larger with its volume.
    if (base.size < this.#options.sizeBytes || base.size >= this.#options.sizeBytes + MAX_EXTENT) {
      const others = all.filter(({ name, tags }) => tags.includes(TAG) && name !== base.name);
      if (others.length > 0) {
        throw new RuntimeError(
          'failed-precondition',
          `rootfs.lvm_thin.size is ${this.#options.sizeBytes} bytes, but the volumes that are there have ${base.size}: set it back, or remove all containers and images first`,
        );
      }
      await this.#run('lvremove', '--force', this.#lv('base'));
    }
  }

  async #ours(): Promise<LogicalVolume[]> {
    const ours = await this.#report(this.#group, `tags=${TAG}`);
    return ours.filter(({ name }) => name.startsWith(PREFIX));
  }

  async #report(what: string, selection?: string): Promise<LogicalVolume[]> {
    const fields = 'lv_name,lv_tags,origin,pool_lv,segtype,lv_size,data_percent,metadata_percent';
    const text = await this.#run(
      'lvs',
      // Else JSON takes the words of an error to stdout.
      ...['--config', 'log/report_command_log=0', '--reportformat', 'json'],
      ...['--units', 'b', '--nosuffix', '--options', fields],
      ...(selection === undefined ? [] : ['--select', selection]),
      what,
    );
    return parseReport(text);
  }

  #path(name: string): string {
    return `${this.#group}/${name}`;
  }

  #lv(name: VolumeName): string {
    return this.#path(lvName(name));
  }

  #device(name: VolumeName): string {
    return `/dev/${this.#lv(name)}`;
  }
}

/** Extents are 4 MiB unless somebody has made them larger. */
const MAX_EXTENT = 256 << 20;

/** Exported for its tests. */
export function parseReport(text: string): LogicalVolume[] {
  const report = asArray(asObject(JSON.parse(text), 'lvs')['report'], 'lvs.report');
  return report
    .flatMap((part) => asArray(asObject(part, 'lvs.report')['lv'], 'lvs.report.lv'))
    .map((row) => {
      const lv = asObject(row, 'lvs.report.lv');
      return {
        name: field(lv, 'lv_name'),
        tags: field(lv, 'lv_tags').split(','),
        origin: field(lv, 'origin'),
        pool: field(lv, 'pool_lv'),
        kind: field(lv, 'segtype'),
        size: Number(field(lv, 'lv_size')),
        // Empty where the volume is not active.
        dataPercent: Number(field(lv, 'data_percent')),
        metadataPercent: Number(field(lv, 'metadata_percent')),
      };
    });
}

function field(lv: JsonObject, name: string): string {
  return asString(lv[name], `lvs ${name}`);
}

function lvName(name: VolumeName): string {
  return `${PREFIX}${name.replace('/', '-')}`;
}

function volumeName(name: string): VolumeName {
  return name.slice(PREFIX.length).replace('-', '/');
}

async function isThere(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
