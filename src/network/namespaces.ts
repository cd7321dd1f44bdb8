/** A pod's namespaces, pinned as bind-mounted nsfs files: they live without any process. */
import { access, mkdir, readdir, rmdir, unlink, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { hasCode, RuntimeError, wrap } from '../core/errors.js';
import { parseSandboxId, type SandboxId } from '../core/ids.js';
import { mapLine } from '../core/user-namespace.js';
import type { InterfaceReading, NamespaceRequest, NamespaceStore } from '../core/ports/network.js';
import type { NativeAddon, PinOptions } from '../native/binding.js';

type Kind = 'net' | 'ipc' | 'uts' | 'pid' | 'user';
const KINDS: readonly Kind[] = ['net', 'ipc', 'uts', 'pid', 'user'];

/** A connection to a loopback takes longer only while its listener's queue is full. */
const CONNECT_MS = 10_000;

/** `<directory>/<sandbox id>/ns/<kind>`. Other parts of the agent keep files beside `ns`. */
export class PinnedNamespaces implements NamespaceStore {
  readonly #addon: NativeAddon;
  readonly #directory: string;

  constructor(options: { addon: NativeAddon; directory: string }) {
    this.#addon = options.addon;
    this.#directory = options.directory;
  }

  async pin(id: SandboxId, wanted: NamespaceRequest): Promise<void> {
    const kinds: Exclude<Kind, 'pid'>[] = [...wanted.kinds];
    if (wanted.userNamespace) kinds.push('user');
    if (wanted.kinds.length === 0) {
      // The host's sysctls are the host's.
      if (wanted.sysctls.length > 0) {
        throw new RuntimeError(
          'invalid-argument',
          `sandbox ${id} has sysctls but no namespace of its own`,
        );
      }
      if (kinds.length === 0) return;
    }
    if (kinds.some((kind) => this.#addon.isNamespace(this.path(id, kind)))) {
      throw new RuntimeError('already-exists', `sandbox ${id} has pinned namespaces`);
    }
    try {
      await mkdir(this.#folder(id), { recursive: true, mode: 0o700 });
      const options: PinOptions = { hostname: wanted.hostname, sysctls: wanted.sysctls };
      if (wanted.userNamespace) {
        const { uids, gids } = wanted.userNamespace;
        options.uidMap = mapLine(uids);
        options.gidMap = mapLine(gids);
        options.rootUid = uids.hostId;
      }
      for (const kind of kinds) {
        options[kind] = this.path(id, kind);
        await writeFile(this.path(id, kind), '', { mode: 0o600 });
      }
      await this.#addon.pinNamespaces(options);
    } catch (error) {
      await this.unpin(id);
      // These are the answers to a sysctl, a value or a hostname that will not do.
      const fault = hasCode(error, 'EINVAL', 'ENOENT', 'EACCES', 'EPERM')
        ? 'invalid-argument'
        : 'internal';
      throw wrap(error, `cannot pin namespaces of sandbox ${id}`, fault);
    }
  }

  path(id: SandboxId, kind: Kind): string {
    return join(this.#folder(id), kind);
  }

  isPinned(id: SandboxId, kinds: readonly Kind[]): Promise<boolean> {
    return Promise.resolve(kinds.every((kind) => this.#addon.isNamespace(this.path(id, kind))));
  }

  async unpin(id: SandboxId): Promise<void> {
    try {
      for (const kind of KINDS) {
        const path = this.path(id, kind);
        // A second mount on the same file would keep its namespace.
        while (this.#addon.unmount(path));
        await unlessAbsent(unlink(path));
      }
      await unlessAbsent(rmdir(this.#folder(id)));
    } catch (error) {
      throw wrap(error, `cannot unpin namespaces of sandbox ${id}`);
    }
    try {
      await rmdir(join(this.#directory, id));
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTEMPTY')) {
        throw wrap(error, `cannot remove folder of sandbox ${id}`);
      }
    }
  }

  async interfaces(ids: readonly SandboxId[]): Promise<Map<SandboxId, InterfaceReading>> {
    const found = new Map<SandboxId, InterfaceReading>();
    const readings = await this.#addon.interfaceCounters(ids.map((id) => this.path(id, 'net')));
    for (const [index, id] of ids.entries()) {
      const reading = readings[index];
      if (!reading) continue;
      const timestamp = BigInt(Math.round(reading.timestampMs * 1e3)) * 1000n;
      found.set(id, { timestamp, interfaces: reading.interfaces });
    }
    return found;
  }

  async connect(id: SandboxId | null, port: number): Promise<Socket> {
    let fd: number;
    try {
      const namespace = id === null ? null : this.path(id, 'net');
      fd = await this.#addon.connectLoopback(namespace, port, CONNECT_MS);
    } catch (error) {
      const place = id === null ? 'the host' : `sandbox ${id}`;
      throw wrap(
        error,
        `cannot connect to port ${port} on the loopback of ${place}`,
        'unavailable',
      );
    }
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    return socket.setNoDelay();
  }

  async list(): Promise<SandboxId[]> {
    const ids: SandboxId[] = [];
    for (const name of await this.#names()) {
      const id = sandboxIdOf(name);
      if (id !== undefined && (await exists(this.#folder(id)))) ids.push(id);
    }
    return ids;
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.#directory);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw wrap(error, `cannot list sandboxes in ${this.#directory}`);
    }
  }

  #folder(id: SandboxId): string {
    return join(this.#directory, id, 'ns');
  }
}

/** Whatever else lies in the folder is not ours. */
function sandboxIdOf(name: string): SandboxId | undefined {
  try {
    return parseSandboxId(name);
  } catch {
    return undefined;
  }
}

async function unlessAbsent(step: Promise<void>): Promise<void> {
  try {
    await step;
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}
