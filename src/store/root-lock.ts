/** Keeps a second agent off the folders of a running one. */
import { closeSync, ftruncateSync, mkdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { OwnedFd } from '../core/ports/network.js';

/** The addon's lockFile: flock(LOCK_EX | LOCK_NB) on a file made if absent; throws EAGAIN when held. */
export type LockFile = (path: string) => OwnedFd;

export interface RootLock {
  /** Idempotent. */
  release(): void;
}

const LOCK_NAME = 'agent.lock';

/**
 * Locks the persistent and the volatile folder. The kernel lets go of a flock when its holder dies,
 * kill -9 included, so that the file itself may stay: its presence says nothing, its content is the
 * pid of whoever held it last.
 */
export function lockRoot(lockFile: LockFile, folders: { root: string; state: string }): RootLock {
  const held: OwnedFd[] = [];
  const release = (): void => {
    for (let fd = held.pop(); fd !== undefined; fd = held.pop()) closeSync(fd);
  };
  try {
    for (const folder of [folders.root, folders.state]) held.push(lockFolder(lockFile, folder));
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}

function lockFolder(lockFile: LockFile, folder: string): OwnedFd {
  const path = join(folder, LOCK_NAME);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const fd = lockFile(path);
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`, 0);
    return fd;
  } catch (error) {
    if (!hasCode(error, 'EAGAIN', 'EWOULDBLOCK')) throw wrap(error, `cannot lock ${path}`);
    throw new RuntimeError(
      'failed-precondition',
      `${folder} is in use by another agent (${holderOf(path)}): stop that one, or give this one a root and a state of its own`,
      error,
    );
  }
}

function holderOf(path: string): string {
  const pid = readFileSync(path, 'latin1').trim();
  return /^[0-9]{1,10}$/.test(pid) ? `pid ${pid}` : `its pid is not written to ${path} yet`;
}
