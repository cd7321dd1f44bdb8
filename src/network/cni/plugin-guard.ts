/** Keeps a DEL from overtaking the ADD of a plugin that outlived its agent. */
import { closeSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, wrap } from '../../core/errors.js';
import type { OwnedFd } from '../../core/ports/network.js';

/** The addon's lockFile: flock(LOCK_EX | LOCK_NB) on a file made if absent; throws EAGAIN when held. */
export type LockFile = (path: string) => OwnedFd;

const POLL_MS = 50;

/**
 * Every plugin is given the descriptor of a locked file. A flock ends with the last duplicate of its
 * descriptor (flock(2)): when the agent is killed, the lock lasts as long as the plugin runs. An agent
 * that lives removes the file itself, so that a daemon which a plugin left behind holds up nobody.
 */
export class PluginGuard {
  readonly #folder: string;
  readonly #lockFile: LockFile;
  readonly #timeoutMs: number;

  constructor(folder: string, lockFile: LockFile, timeoutMs: number) {
    this.#folder = folder;
    this.#lockFile = lockFile;
    this.#timeoutMs = timeoutMs;
  }

  /** Runs `work` with the descriptor to give to plugins, after those of an earlier agent have ended. */
  async run<T>(id: string, work: (fd: OwnedFd) => Promise<T>): Promise<T> {
    const path = join(this.#folder, `${id}.lock`);
    const fd = await this.#lock(path);
    try {
      return await work(fd);
    } finally {
      rmSync(path, { force: true });
      closeSync(fd);
    }
  }

  async #lock(path: string): Promise<OwnedFd> {
    const deadline = performance.now() + this.#timeoutMs;
    for (;;) {
      try {
        return this.#lockFile(path);
      } catch (error) {
        if (!hasCode(error, 'EAGAIN', 'EWOULDBLOCK')) throw wrap(error, `cannot lock ${path}`);
      }
      // No plugin may take longer than this: whatever holds the lock now is none.
      if (performance.now() > deadline) rmSync(path, { force: true });
      else await sleep(POLL_MS);
    }
  }
}
