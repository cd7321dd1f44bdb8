/** Records of sandboxes and containers on disk: one folder and one versioned JSON file per object. */
import { lstat, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { z } from 'zod';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { ContainerId, SandboxId } from '../core/ids.js';
import type { ContainerRecord, SandboxRecord } from '../core/model.js';
import type { LoadedState, StateStore } from '../core/ports/state.js';
import {
  isTemporaryName,
  syncFolder,
  writeFileAtomic,
  writeFileSoon,
} from '../util/atomic-file.js';
import { KeyedMutex } from '../util/keyed-mutex.js';
import { containerRecord, sandboxRecord } from './record-schema.js';

const VERSION = 1;
const ID = /^[0-9a-f]{64}$/;
// Renaming a folder to this name is the moment a record is gone; emptying it may take its time.
const REMOVING = /^\.removing-[0-9a-f]{64}$/;

type Phase = SandboxRecord['phase'] | ContainerRecord['phase'];

interface Kind<R> {
  what: 'sandbox' | 'container';
  folder: string;
  file: string;
  schema: z.ZodType<R>;
}

/**
 * `<root>/sandboxes/<id>/sandbox.json` and `<root>/containers/<id>/container.json`. A container's
 * folder is also where its shim leaves its `started` and `exit` files.
 */
export class FileStateStore implements StateStore {
  readonly #sandboxes: Kind<SandboxRecord>;
  readonly #containers: Kind<ContainerRecord>;
  // Two saves of one object must reach the disk in the order they were asked for.
  readonly #lane = new KeyedMutex();

  constructor(root: string) {
    this.#sandboxes = {
      what: 'sandbox',
      folder: join(root, 'sandboxes'),
      file: 'sandbox.json',
      schema: sandboxRecord,
    };
    this.#containers = {
      what: 'container',
      folder: join(root, 'containers'),
      file: 'container.json',
      schema: containerRecord,
    };
  }

  saveSandbox(record: SandboxRecord): Promise<void> {
    return this.#save(this.#sandboxes, record);
  }

  removeSandbox(id: SandboxId): Promise<void> {
    return this.#remove(this.#sandboxes, id);
  }

  saveContainer(record: ContainerRecord): Promise<void> {
    return this.#save(this.#containers, record);
  }

  removeContainer(id: ContainerId): Promise<void> {
    return this.#remove(this.#containers, id);
  }

  async load(): Promise<LoadedState> {
    const unreadable: LoadedState['unreadable'] = [];
    const sandboxes = await loadKind(this.#sandboxes, unreadable);
    const containers = await loadKind(this.#containers, unreadable);
    return { sandboxes, containers, unreadable };
  }

  #save<R extends { id: string; phase: Phase }>(kind: Kind<R>, record: R): Promise<void> {
    return this.#lane.run(record.id, async () => {
      const folder = join(kind.folder, record.id);
      try {
        // A record that load would refuse must not get that far.
        const checked = kind.schema.safeParse(record);
        if (!checked.success) throw new RuntimeError('internal', firstIssue(checked.error));
        await makeFolder(kind.folder, record.id);
        const path = join(folder, kind.file);
        if (isPassing(record.phase)) {
          await writeFileSoon(path, JSON.stringify(record));
          return;
        }
        await writeFileAtomic(path, JSON.stringify(record));
        // Where its name stands: the folder was made for a record that did not wait for the disk.
        await syncFolder(kind.folder);
      } catch (error) {
        throw wrap(error, `cannot save ${kind.what} ${record.id}`);
      }
    });
  }

  #remove<R>(kind: Kind<R>, id: string): Promise<void> {
    return this.#lane.run(id, async () => {
      try {
        await removeFolder(kind.folder, id);
      } catch (error) {
        throw wrap(error, `cannot remove the record of ${kind.what} ${id}`);
      }
    });
  }
}

/**
 * For a killed agent's next life alone: with the power goes all that such a record tells of, but for
 * root filesystems and attachments to networks, which are found without it (runtime/recovery.ts).
 */
function isPassing(phase: Phase): boolean {
  return phase === 'creating' || phase === 'stopping';
}

async function makeFolder(parent: string, id: string): Promise<void> {
  try {
    await mkdir(join(parent, id), { mode: 0o700 });
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return;
    if (!hasCode(error, 'ENOENT')) throw error;
    await mkdir(join(parent, id), { recursive: true, mode: 0o700 });
    await syncFolder(dirname(parent));
  }
}

async function removeFolder(parent: string, id: string): Promise<void> {
  const doomed = join(parent, `.removing-${id}`);
  await rm(doomed, { recursive: true, force: true });
  try {
    await rename(join(parent, id), doomed);
    await syncFolder(parent);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  // The shim of a container whose creation failed is being killed, and may leave its `exit` in here
  // between the emptying and the removal: ENOTEMPTY, then.
  await rm(doomed, { recursive: true, force: true, maxRetries: 10, retryDelay: 10 });
}

async function loadKind<R extends { id: string }>(
  kind: Kind<R>,
  unreadable: LoadedState['unreadable'],
): Promise<R[]> {
  const records: R[] = [];
  for (const name of await namesIn(kind.folder)) {
    const folder = join(kind.folder, name);
    if (REMOVING.test(name)) {
      await rm(folder, { recursive: true, force: true });
    } else if (!ID.test(name)) {
      unreadable.push({ path: folder, reason: `its name is not a ${kind.what} id` });
    } else {
      const result = await loadOne(kind, folder, name);
      if (result === 'absent') continue;
      if ('record' in result) records.push(result.record);
      else unreadable.push(result);
    }
  }
  return records;
}

async function loadOne<R extends { id: string }>(
  kind: Kind<R>,
  folder: string,
  id: string,
): Promise<{ record: R } | { path: string; reason: string } | 'absent'> {
  if (!(await lstat(folder)).isDirectory()) return { path: folder, reason: 'it is not a folder' };
  const rest = [];
  for (const name of await readdir(folder)) {
    if (isTemporaryName(name)) await rm(join(folder, name), { recursive: true, force: true });
    else rest.push(name);
  }
  if (rest.length === 0) {
    // The save that made the folder was killed before its rename: nothing else was done yet.
    await rm(folder, { recursive: true, force: true });
    return 'absent';
  }
  const path = join(folder, kind.file);
  try {
    if (!rest.includes(kind.file))
      throw new Error('it does not exist, but its folder is not empty');
    const status = await lstat(path);
    if (!status.isFile()) throw new Error('it is not a regular file');
    if (status.size === 0 && rest.length === 1) {
      // A power cut took the content of a record that had not waited for the disk.
      await rm(folder, { recursive: true, force: true });
      return 'absent';
    }
    return { record: decode(kind.schema, await readFile(path), id) };
  } catch (error) {
    return { path, reason: error instanceof Error ? error.message : String(error) };
  }
}

function decode<R extends { id: string }>(
  schema: z.ZodType<R>,
  bytes: Uint8Array,
  expectedId: string,
): R {
  const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  const version = versionOf(value);
  if (version > VERSION) {
    throw new Error(
      `it has version ${version}, written by a newer agent; this one reads version ${VERSION}`,
    );
  }
  const result = schema.safeParse(value);
  if (!result.success) throw new Error(firstIssue(result.error));
  if (result.data.id !== expectedId) {
    throw new Error(`it holds id ${result.data.id}, not that of its folder`);
  }
  return result.data;
}

function versionOf(value: unknown): number {
  if (typeof value !== 'object' || value === null || !('version' in value)) return 0;
  return typeof value.version === 'number' ? value.version : 0;
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return `field ${issue?.path.map(String).join('.') ?? ''} is wrong: ${issue?.message ?? ''}`;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw wrap(error, `cannot read the state folder ${folder}`, 'data-loss');
  }
}
