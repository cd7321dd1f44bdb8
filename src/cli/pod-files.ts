/**
 * The files that a kubelet would keep for a pod, kept by `pvecri run` below the agent's root:
 *
 *     <root>/run-pods/<uid>/pod.json                          what else belongs to the pod: its log folder
 *                          /etc-hosts                         mounted at /etc/hosts
 *                          /volumes/<name>/                   an emptyDir
 *                          /containers/<name>/termination-log
 *
 * `pvecri rm` removes them with the pod. A pod of the kubelet has no folder here, and nothing of it is
 * touched: which files go is read from this folder, that only root can write, and never from labels or
 * annotations, that anyone may set who can create a pod.
 */
import { mkdir, readFile, readdir, rm, rmdir, chmod, chown, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { hasCode, wrap } from '../core/errors.js';
import { writeFileAtomic } from '../util/atomic-file.js';
import { CommandFailure } from './failure.js';
import { emptyDirPath, hostsPath, terminationLogPath } from './manifest/pod-configs.js';
import { everyContainer } from './manifest/schema.js';
import type { PodManifest } from './manifest/schema.js';

const UID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const recordSchema = z.strictObject({ version: z.literal(1), logDirectory: z.string() });

export function podFilesDirectory(root: string, uid: string): string {
  return join(root, 'run-pods', uid);
}

/** Everything but the hosts file, which needs the pod's address. Undone by removePodFiles. */
export async function makePodFiles(
  directory: string,
  logDirectory: string,
  pod: PodManifest,
): Promise<void> {
  const { securityContext, volumes } = pod.spec;
  const { fsGroup } = securityContext;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // First of all, so that a log folder can be found again whatever happens next.
  const record = { version: 1, logDirectory };
  await writeFileAtomic(join(directory, 'pod.json'), `${JSON.stringify(record)}\n`);
  for (const { name } of volumes.filter(({ emptyDir }) => emptyDir !== undefined)) {
    const path = emptyDirPath(directory, name);
    await mkdir(path, { recursive: true });
    // As the kubelet's: any user of the pod may write. The umask must not narrow it.
    if (fsGroup !== undefined) await chown(path, 0, fsGroup);
    await chmod(path, fsGroup === undefined ? 0o777 : 0o2777);
  }
  for (const { container } of everyContainer(pod.spec)) {
    const { name } = container;
    const path = terminationLogPath(directory, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, '', { flag: 'wx' });
    await chmod(path, 0o666);
    await mkdir(join(logDirectory, name), { recursive: true, mode: 0o755 });
  }
}

export async function writeHostsFile(directory: string, text: string): Promise<void> {
  await writeFile(hostsPath(directory), text, { mode: 0o644 });
}

/** Idempotent. Does nothing for a pod that `pvecri run` did not start. */
export async function removePodFiles(root: string, uid: string): Promise<void> {
  if (!UID.test(uid)) return;
  const directory = podFilesDirectory(root, uid);
  await refuseMounts(directory);
  const logDirectory = await recordedLogDirectory(directory);
  if (logDirectory !== undefined) await rm(logDirectory, { recursive: true, force: true });
  await rm(directory, { recursive: true, force: true });
  try {
    await rmdir(dirname(directory));
  } catch (error) {
    // Others' folders are still in it, or it was never made.
    if (!hasCode(error, 'ENOTEMPTY', 'ENOENT')) throw error;
  }
}

/** Pods that have files here. */
export async function listPodFiles(root: string): Promise<string[]> {
  try {
    return (await readdir(join(root, 'run-pods'))).filter((name) => UID.test(name));
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EACCES')) return [];
    throw error;
  }
}

/** A container with Bidirectional propagation may leave a mount behind; its files are not the pod's. */
async function refuseMounts(directory: string): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  for (const line of mounts.split('\n')) {
    // proc(5): blanks and the like in a path are written as three octal digits.
    const path = (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(parseInt(digits, 8)),
    );
    if (!path.startsWith(`${directory}/`)) continue;
    throw new CommandFailure(
      'failed-precondition',
      `the pod left a mount at ${path}: unmount it, then remove ${directory} and the pod's log folder`,
    );
  }
}

async function recordedLogDirectory(directory: string): Promise<string | undefined> {
  const path = join(directory, 'pod.json');
  try {
    const record: unknown = JSON.parse(await readFile(path, 'utf8'));
    return recordSchema.parse(record).logDirectory;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw wrap(error, `cannot read ${path}, which names the pod's log folder`);
  }
}
