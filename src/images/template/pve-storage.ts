/** Storages of this node, as /etc/pve/storage.cfg has them: where the file of a template is. */
import { readFile, realpath } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import type { TemplateVolume } from './name.js';

export interface PveStorage {
  type: string;
  /** The last of each key counts, as for Proxmox VE. */
  properties: ReadonlyMap<string, string>;
}

/** Those that have files. The second kind mounts itself at `/mnt/pve/ID` unless told otherwise. */
const WITH_PATH = ['dir', 'btrfs'];
const MOUNTED = ['nfs', 'cifs', 'cephfs', 'glusterfs'];
const CONTENT = 'vztmpl';
const MOST_BYTES = 1 << 20;

/** What Proxmox VE takes for `local` where the file says nothing of it. */
const LOCAL: PveStorage = {
  type: 'dir',
  properties: new Map([
    ['path', '/var/lib/vz'],
    ['content', 'vztmpl'],
  ]),
};

/** Sections of `type: id` with indented `key value` lines (PVE::SectionConfig). */
export function parseStorages(text: string): Map<string, PveStorage> {
  const storages = new Map<string, PveStorage>();
  let properties: Map<string, string> | undefined;
  for (const line of text.split('\n')) {
    if (/^\s*#/.test(line)) continue;
    const [, type, id] = /^(\S+):\s*(\S+)\s*$/.exec(line) ?? [];
    const [, key, value] = /^\s+(\S+)(?:\s+(.*\S))?\s*$/.exec(line) ?? [];
    if (type !== undefined && id !== undefined) {
      properties = new Map();
      storages.set(id, { type, properties });
    } else if (key !== undefined) properties?.set(key, value ?? '');
    else properties = undefined;
  }
  if (!storages.has('local')) storages.set('local', LOCAL);
  return storages;
}

/** The path of a template, whether the file is there or not; a link must stay in the storage's folder. */
export async function templatePath(volume: TemplateVolume, configPath: string): Promise<string> {
  const { storage: id, name } = volume;
  const storage = parseStorages(await read(configPath)).get(id);
  if (storage === undefined) {
    throw new RuntimeError('not-found', `${configPath} has no storage ${id}`);
  }
  const { type, properties } = storage;
  const refused = (why: string): RuntimeError =>
    new RuntimeError('failed-precondition', `storage ${id} of ${configPath} ${why}`);
  if (properties.has('disable')) throw refused('is disabled');
  const nodes = listOf(properties.get('nodes') ?? '');
  const node = hostname().replace(/\..*/, '');
  if (nodes.length > 0 && !nodes.includes(node)) throw refused(`is not for this node, ${node}`);
  if (![...WITH_PATH, ...MOUNTED].includes(type)) {
    throw refused(`has type ${JSON.stringify(type)}, which has no templates`);
  }
  if (!listOf(properties.get('content') ?? '').includes(CONTENT)) {
    throw refused(
      `has no content ${CONTENT}: add it, e.g. by pvesm set ${id} --content ${CONTENT}`,
    );
  }
  const root = properties.get('path') ?? (MOUNTED.includes(type) ? `/mnt/pve/${id}` : '');
  if (!root.startsWith('/')) throw refused('has no absolute path');
  const folder = join(root, templateFolder(properties.get('content-dirs') ?? ''));
  const path = join(folder, name);
  const target = await realpath(path).catch(() => undefined);
  if (target === undefined || target.startsWith(`${await realpath(folder)}/`)) return path;
  throw new RuntimeError(
    'failed-precondition',
    `${path} is a link that leads out of storage ${id}, to ${target}: name that file by its path`,
  );
}

/** `content-dirs vztmpl=a/b,iso=c` puts contents in other folders than the usual ones. */
function templateFolder(contentDirs: string): string {
  const own = listOf(contentDirs).find((item) => item.startsWith(`${CONTENT}=`));
  return own === undefined ? 'template/cache' : own.slice(CONTENT.length + 1);
}

function listOf(text: string): string[] {
  return text.split(/[\s,;]+/).filter((item) => item !== '');
}

async function read(path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8');
    if (text.length <= MOST_BYTES) return text;
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) {
      throw wrap(error, `cannot read ${path}`, 'failed-precondition');
    }
    throw new RuntimeError(
      'failed-precondition',
      `there is no ${path}: pve:// names need a Proxmox VE node; name the template by its path`,
    );
  }
  throw new RuntimeError('failed-precondition', `${path} is larger than ${MOST_BYTES} bytes`);
}
