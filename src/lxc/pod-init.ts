/** The init of a pod with a shared PID namespace: pvecri-pause, which outlives the agent. */
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { SandboxId } from '../core/ids.js';
import type { PodInit } from '../core/ports/network.js';
import type { ProcessSpawner, SpawnedProcess } from '../native/process.js';

const SIGKILL = 9;
/** It makes five namespaces and mounts one tmpfs. */
const READY_MS = 10_000;
const READY = 'ready';

export class PausePodInit implements PodInit {
  readonly #spawner: ProcessSpawner;
  readonly #program: string;
  readonly #cgroupRoot: string;

  constructor(options: { spawner: ProcessSpawner; libexecDir: string; cgroupRoot: string }) {
    this.#spawner = options.spawner;
    this.#program = join(options.libexecDir, 'pvecri-pause');
    this.#cgroupRoot = options.cgroupRoot;
  }

  async start(
    id: SandboxId,
    cgroup: string,
    pinPath: string,
    userNamespace: string | null,
  ): Promise<void> {
    const { addon } = this.#spawner;
    const spawned = await this.#spawn(cgroup, userNamespace);
    const { said } = spawned;
    let { pid, pidfd } = spawned;
    try {
      const words = await Promise.race([said, sleep(READY_MS, 'a time limit', { ref: false })]);
      if (words !== READY) {
        throw new RuntimeError('internal', `pvecri-pause failed at ${words || 'its start'}`);
      }
      if (userNamespace !== null) {
        // The first process has made the init, and ended.
        await spawned.exited;
        const init = await this.#pid(cgroup);
        if (init === undefined) throw new RuntimeError('internal', 'pvecri-pause ended');
        const initPidfd = addon.pidfdOpen(init);
        closeSync(pidfd);
        [pid, pidfd] = [init, initPidfd];
      }
      await mkdir(dirname(pinPath), { recursive: true, mode: 0o700 });
      await writeFile(pinPath, '', { mode: 0o600 });
      addon.bindNamespace(`/proc/${pid}/ns/pid`, pinPath);
      // Alive after the bind, so the number named no other process.
      addon.pidfdSignal(pidfd, 0);
    } catch (error) {
      this.#kill(pidfd);
      addon.unmount(pinPath);
      await unlink(pinPath).catch(() => undefined);
      throw wrap(error, `cannot start the init of pod sandbox ${id}`);
    } finally {
      closeSync(pidfd);
    }
  }

  async isAlive(cgroup: string): Promise<boolean> {
    return (await this.#pid(cgroup)) !== undefined;
  }

  async ended(cgroup: string): Promise<void> {
    const pid = await this.#pid(cgroup);
    if (pid === undefined) return;
    let pidfd: number;
    try {
      pidfd = this.#spawner.addon.pidfdOpen(pid);
    } catch (error) {
      if (hasCode(error, 'ESRCH')) return;
      throw error;
    }
    const end = this.#spawner.watch(pidfd);
    closeSync(pidfd);
    await end;
    // A watch also ends when the agent stops: that says nothing of the init.
    if (await this.isAlive(cgroup)) await new Promise(() => undefined);
  }

  async #spawn(
    cgroup: string,
    userNamespace: string | null,
  ): Promise<SpawnedProcess & { said: Promise<string> }> {
    const { read, write } = this.#spawner.addon.pipe();
    // From here the socket owns the reading end.
    const reader = new Socket({ fd: read, readable: true, writable: false });
    let cgroupFd: number | undefined;
    let userFd: number | undefined;
    try {
      const folder = join(this.#cgroupRoot, cgroup);
      cgroupFd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
      if (userNamespace !== null) userFd = openSync(userNamespace, constants.O_RDONLY);
      const spawned = await this.#spawner.spawn({
        file: this.#program,
        argv: userFd === undefined ? ['pvecri-pause'] : ['pvecri-pause', 'user'],
        env: [],
        fds: userFd === undefined ? [-1, write, -1] : [-1, write, -1, userFd],
        cgroupFd,
        newPidNamespace: userFd === undefined,
      });
      return { ...spawned, said: readAll(reader) };
    } catch (error) {
      reader.destroy();
      throw error;
    } finally {
      closeSync(write);
      for (const fd of [cgroupFd, userFd]) if (fd !== undefined) closeSync(fd);
    }
  }

  #kill(pidfd: number): void {
    try {
      this.#spawner.addon.pidfdSignal(pidfd, SIGKILL);
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
  }

  /** It is alone in its cgroup. */
  async #pid(cgroup: string): Promise<number | undefined> {
    try {
      const text = await readFile(join(this.#cgroupRoot, cgroup, 'cgroup.procs'), 'latin1');
      const pid = Number(text.split('\n')[0]);
      return pid > 0 ? pid : undefined;
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENODEV')) return undefined;
      throw error;
    }
  }
}

async function readAll(reader: Socket): Promise<string> {
  let text = '';
  for await (const chunk of reader) text += String(chunk);
  return text;
}
