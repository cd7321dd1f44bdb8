/** hostPath volumes: the checks and folders that their type asks for, as the kubelet does them. */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { hasCode, wrap } from '../core/errors.js';
import { CommandFailure } from './failure.js';
import type { PodSpec } from './manifest/schema.js';

type HostPath = NonNullable<PodSpec['volumes'][number]['hostPath']>;

const KINDS: Readonly<Record<string, { name: string; matches: (stats: Stats) => boolean }>> = {
  DirectoryOrCreate: { name: 'a folder', matches: (stats) => stats.isDirectory() },
  Directory: { name: 'a folder', matches: (stats) => stats.isDirectory() },
  FileOrCreate: { name: 'a regular file', matches: (stats) => stats.isFile() },
  File: { name: 'a regular file', matches: (stats) => stats.isFile() },
  Socket: { name: 'a unix socket', matches: (stats) => stats.isSocket() },
  CharDevice: { name: 'a character device', matches: (stats) => stats.isCharacterDevice() },
  BlockDevice: { name: 'a block device', matches: (stats) => stats.isBlockDevice() },
};

export async function prepareHostPaths(spec: PodSpec): Promise<void> {
  for (const [index, { hostPath }] of spec.volumes.entries()) {
    if (hostPath !== undefined) await prepare(hostPath, `spec.volumes[${index}].hostPath`);
  }
}

async function prepare({ path, type }: HostPath, field: string): Promise<void> {
  const kind = KINDS[type];
  // Without a type nothing is checked: the runtime makes a missing folder.
  if (kind === undefined) return;
  if (type === 'DirectoryOrCreate') await create(field, path, mkdir(path, { recursive: true }));
  if (type === 'FileOrCreate') {
    await create(field, path, writeFile(path, '', { flag: 'a', mode: 0o644 }));
  }
  let stats: Stats;
  try {
    stats = await stat(path);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw wrap(error, `${field}: cannot look at ${path}`);
    throw new CommandFailure(
      'failed-precondition',
      `${field}: ${path} does not exist, and type ${type} wants ${kind.name} there`,
    );
  }
  if (kind.matches(stats)) return;
  throw new CommandFailure(
    'failed-precondition',
    `${field}: ${path} is not ${kind.name}, which type ${type} wants`,
  );
}

async function create(field: string, path: string, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    // Something else stands there: the check that follows says what.
    if (hasCode(error, 'EEXIST', 'EISDIR')) return;
    throw wrap(error, `${field}: cannot make ${path}`);
  }
}
