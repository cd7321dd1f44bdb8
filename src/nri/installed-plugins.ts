/** Plugins that are installed on the host and live as long as the agent, each at the end of a socket of its own. */
import { closeSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import type { Logger } from '../core/logger.js';
import type { ProcessSpawner, SpawnedProcess } from '../native/process.js';
import type { NriPluginHost } from './plugin-host.js';

export interface InstalledPluginsOptions {
  spawner: ProcessSpawner;
  host: NriPluginHost;
  /** Folders: the programs, and their configurations. */
  pluginPath: string;
  configPath: string;
  log: Logger;
}

interface InstalledPlugin {
  index: string;
  name: string;
  file: string;
  configuration: string;
}

const MAX_CONFIGURATION = 1 << 20;
/** A plugin whose connection has ended has no more to do. */
const END_MS = 2000;
const SIGKILL = 9;

export class InstalledPlugins {
  readonly #options: InstalledPluginsOptions;
  readonly #ends: Promise<void>[] = [];

  constructor(options: InstalledPluginsOptions) {
    this.#options = options;
  }

  /** Resolves when each is in, or has been given up. */
  async start(): Promise<void> {
    const plugins = await findPlugins(this.#options);
    await Promise.all(
      plugins.map(async (plugin) => {
        try {
          await this.#start(plugin);
        } catch (error) {
          this.#options.log.warn({ file: plugin.file, err: error }, 'cannot start an NRI plugin');
        }
      }),
    );
  }

  /** Once the host is closed: resolves when none of them is left. */
  async close(): Promise<void> {
    await Promise.all(this.#ends);
  }

  async #start({ index, name, file, configuration }: InstalledPlugin): Promise<void> {
    const { spawner, host } = this.#options;
    const [ours, theirs] = spawner.addon.socketPair();
    let child: SpawnedProcess;
    try {
      child = await spawner.spawn({
        file,
        argv: [file],
        env: [`NRI_PLUGIN_NAME=${name}`, `NRI_PLUGIN_IDX=${index}`, 'NRI_PLUGIN_SOCKET=3'],
        // What it writes goes where the agent's own log goes.
        fds: [-1, 2, 2, theirs],
        cwd: '/',
      });
    } catch (error) {
      closeSync(ours);
      throw error;
    } finally {
      closeSync(theirs);
    }
    const socket = new Socket({ fd: ours, readable: true, writable: true });
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => {
        resolve();
      });
    });
    this.#ends.push(this.#end(child, closed));
    await host.accept(socket, { configuration, identity: { name, index } });
  }

  async #end(child: SpawnedProcess, closed: Promise<void>): Promise<void> {
    try {
      await closed;
      if (await hasEnded(child)) return;
      this.#options.spawner.addon.pidfdSignal(child.pidfd, SIGKILL);
      // It is ours to reap.
      await hasEnded(child);
    } catch (error) {
      if (!hasCode(error, 'ESRCH'))
        this.#options.log.warn({ pid: child.pid, err: error }, 'cannot end an NRI plugin');
    } finally {
      closeSync(child.pidfd);
    }
  }
}

/** Within a time. */
async function hasEnded({ exited }: SpawnedProcess): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(END_MS, false, { signal: timer.signal }).catch(() => false);
  try {
    return await Promise.race([late, exited.then(() => true)]);
  } finally {
    timer.abort();
  }
}

/** What is no plugin, or not root's alone, is told in the log and left alone. */
async function findPlugins(options: InstalledPluginsOptions): Promise<InstalledPlugin[]> {
  const { pluginPath, configPath, log } = options;
  let names: string[];
  try {
    names = await readdir(pluginPath);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw wrap(error, `cannot look for NRI plugins in ${pluginPath}`, 'failed-precondition');
  }
  const plugins: InstalledPlugin[] = [];
  for (const entry of names.sort()) {
    const file = join(pluginPath, entry);
    try {
      if (!(await isProgram(file))) continue;
      const [, index, name] = /^(\d\d)-([a-zA-Z0-9_.+-]+)$/.exec(entry) ?? [];
      if (index === undefined || name === undefined) {
        throw new RuntimeError('invalid-argument', 'its name is not NN-NAME, with two digits');
      }
      const configuration = await readConfiguration(configPath, [entry, name]);
      plugins.push({ index, name, file, configuration });
    } catch (error) {
      log.warn({ file, err: error }, 'an installed NRI plugin is passed over');
    }
  }
  return plugins;
}

async function isProgram(file: string): Promise<boolean> {
  const status = await stat(file);
  if (!status.isFile() || (status.mode & 0o111) === 0) return false;
  if (status.uid === 0 && (status.mode & 0o022) === 0) return true;
  throw new RuntimeError(
    'permission-denied',
    'it would run as root, but others than root can change it: chown it to root and take the write permission from others',
  );
}

async function readConfiguration(folder: string, names: readonly string[]): Promise<string> {
  for (const name of names) {
    const path = join(folder, `${name}.conf`);
    try {
      if ((await stat(path)).size > MAX_CONFIGURATION) {
        throw new RuntimeError(
          'invalid-argument',
          `its configuration ${path} is larger than ${MAX_CONFIGURATION} bytes`,
        );
      }
      return await readFile(path, 'utf8');
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  return '';
}
