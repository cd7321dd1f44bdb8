/** Pod networks by CNI: the chain of ADD, the chain of DEL, and what holds between them over a crash. */
import { statfs } from 'node:fs/promises';
import { hasCode, RuntimeError, wrap } from '../../core/errors.js';
import type { SandboxId } from '../../core/ids.js';
import { POD_INTERFACE } from '../../core/pod-interface.js';
import type { NetworkRequest, OwnedFd, PodNetwork } from '../../core/ports/network.js';
import { hasControlCharacter } from '../../util/control-characters.js';
import { KeyedMutex } from '../../util/keyed-mutex.js';
import { AttachmentCache } from './attachment-cache.js';
import type { Attachment } from './attachment-cache.js';
import { findNetwork } from './conflist.js';
import type { FoundNetwork, NetworkConfig, PluginConfig } from './conflist.js';
import { findPlugin, invokePlugin } from './invoke.js';
import type { CniResult, RunPlugin } from './invoke.js';
import { PluginGuard } from './plugin-guard.js';
import type { LockFile } from './plugin-guard.js';
import { addressesOf } from './result.js';

export interface CniOptions {
  /** `<root>/networks`. */
  cacheFolder: string;
  run: RunPlugin;
  lockFile: LockFile;
  /** For each call of each plugin. */
  timeoutMs?: number;
}

export interface CniFolders {
  confDir: string;
  binDirs: readonly string[];
}

const NSFS_MAGIC = 0x6e736673;

export class CniNetwork implements PodNetwork {
  readonly #run: RunPlugin;
  readonly #timeoutMs: number;
  readonly #cache: AttachmentCache;
  readonly #guard: PluginGuard;
  readonly #lane = new KeyedMutex();
  #folders: CniFolders;

  constructor(folders: CniFolders, options: CniOptions) {
    this.#folders = folders;
    this.#run = options.run;
    // The kubelet gives RunPodSandbox four minutes; a chain has three or four plugins.
    this.#timeoutMs = options.timeoutMs ?? 50_000;
    this.#cache = new AttachmentCache(options.cacheFolder);
    this.#guard = new PluginGuard(options.cacheFolder, options.lockFile, this.#timeoutMs);
  }

  /** Takes effect with the next call; attachments that stand keep the configuration they had. */
  configure(folders: CniFolders): void {
    this.#folders = folders;
  }

  async status(): Promise<{ ready: boolean; reason: string; message: string }> {
    const { confDir, binDirs } = this.#folders;
    try {
      const found = await findNetwork(confDir);
      const network = requireNetwork(found, confDir);
      for (const { type } of network.plugins) await findPlugin(network.name, type, binDirs);
      return { ready: true, reason: '', message: '' };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { ready: false, reason: 'NetworkPluginNotReady', message };
    }
  }

  attach(request: NetworkRequest): Promise<{ ips: string[] }> {
    return this.#lane.run(request.id, async () => {
      // Left by an attach that was killed or could not be undone: a second ADD would leak its lease.
      await this.#detach(request.id);
      const { confDir, binDirs } = this.#folders;
      const network = requireNetwork(await findNetwork(confDir), confDir);
      // All there before the first one runs: the commonest mistake then has nothing to undo.
      for (const { type } of network.plugins) await findPlugin(network.name, type, binDirs);
      const attachment: Attachment = {
        version: 1,
        id: request.id,
        netnsPath: request.netnsPath,
        ifName: POD_INTERFACE,
        args: cniArgs(request),
        runtimeConfig: runtimeConfigOf(request),
        network,
        result: null,
      };
      await this.#cache.save(attachment);
      return this.#guard.run(request.id, (fd) => this.#add(attachment, fd));
    });
  }

  detach(id: SandboxId): Promise<void> {
    return this.#lane.run(id, () => this.#detach(id));
  }

  list(): ReturnType<PodNetwork['list']> {
    return this.#cache.list();
  }

  async #add(attachment: Attachment, guardFd: OwnedFd): Promise<{ ips: string[] }> {
    const { network } = attachment;
    let begun = 0;
    let result: CniResult | null = null;
    try {
      for (const plugin of network.plugins) {
        begun += 1;
        result = await this.#invoke('ADD', attachment, plugin, result, guardFd);
      }
      const ips = readAddresses(network, result);
      await this.#cache.save({ ...attachment, result });
      return { ips };
    } catch (error) {
      await this.#undo({ ...attachment, result }, begun, guardFd, error);
      throw error;
    }
  }

  /** A plugin that failed in ADD may have done half of it: it gets its DEL too (specification, ADD). */
  async #undo(
    attachment: Attachment,
    begun: number,
    guardFd: OwnedFd,
    error: unknown,
  ): Promise<void> {
    const begunPlugins = attachment.network.plugins.slice(0, begun);
    try {
      await this.#delete(attachment, begunPlugins, guardFd);
      await this.#cache.remove(attachment.id);
    } catch (undoError) {
      // The cached attachment stays, so that a detach can try again.
      const first = error instanceof Error ? error.message : String(error);
      throw wrap(undoError, `${first}; and undoing it failed`);
    }
  }

  async #detach(id: SandboxId): Promise<void> {
    const cached = await this.#cache.read(id);
    if (cached.state === 'none') return;
    if (cached.state === 'newer') {
      throw new RuntimeError(
        'failed-precondition',
        `${cached.path} has version ${cached.version}, written by a newer agent: run that one to detach the pod`,
      );
    }
    const attachment =
      cached.state === 'found' ? cached.attachment : await this.#guess(id, cached.path);
    await this.#guard.run(id, async (guardFd) => {
      await this.#delete(attachment, attachment.network.plugins, guardFd);
      await this.#cache.remove(id);
    });
  }

  /** With its file destroyed, an attachment is released by its id, through today's network. */
  async #guess(id: SandboxId, path: string): Promise<Attachment> {
    const { confDir } = this.#folders;
    const { network } = await findNetwork(confDir);
    if (network === undefined) {
      throw new RuntimeError(
        'data-loss',
        `${path} is corrupt, and ${confDir} has no network to release sandbox ${id} through`,
      );
    }
    return {
      version: 1,
      id,
      netnsPath: '',
      ifName: POD_INTERFACE,
      args: 'IgnoreUnknown=1',
      runtimeConfig: {},
      network,
      result: null,
    };
  }

  /** The whole chain in reverse; a plugin that fails does not keep the others from their DEL. */
  async #delete(
    attachment: Attachment,
    plugins: readonly PluginConfig[],
    guardFd: OwnedFd,
  ): Promise<void> {
    const netnsPath = (await isNamespace(attachment.netnsPath)) ? attachment.netnsPath : '';
    let failure: unknown;
    for (const plugin of [...plugins].reverse()) {
      try {
        await this.#invoke('DEL', { ...attachment, netnsPath }, plugin, attachment.result, guardFd);
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) {
      throw wrap(failure, `cannot detach sandbox ${attachment.id} from its network`);
    }
  }

  #invoke(
    command: 'ADD' | 'DEL',
    attachment: Attachment,
    plugin: PluginConfig,
    previous: CniResult | null,
    guardFd: OwnedFd,
  ): Promise<CniResult | null> {
    const { network } = attachment;
    return invokePlugin(this.#run, {
      command,
      network: network.name,
      type: plugin.type,
      config: requestConfig(command, attachment, plugin, previous),
      containerId: attachment.id,
      netnsPath: attachment.netnsPath,
      ifName: attachment.ifName,
      args: attachment.args,
      binDirs: this.#folders.binDirs,
      timeoutMs: this.#timeoutMs,
      guardFd,
    });
  }
}

/** The plugin's own keys and what the runtime adds (specification, "Deriving request configuration"). */
function requestConfig(
  command: 'ADD' | 'DEL',
  attachment: Attachment,
  plugin: PluginConfig,
  previous: CniResult | null,
): Record<string, unknown> {
  const { name, cniVersion } = attachment.network;
  const { capabilities = {}, ...own } = plugin;
  const runtimeConfig = Object.fromEntries(
    Object.entries(attachment.runtimeConfig).filter(([key]) => capabilities[key] === true),
  );
  // Before 0.4.0 a DEL had no result to go by.
  const withResult = previous !== null && (command === 'ADD' || !/^0\.[1-3]\./.test(cniVersion));
  return {
    ...own,
    name,
    cniVersion,
    ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
    ...(withResult ? { prevResult: previous } : {}),
  };
}

function requireNetwork(found: FoundNetwork, confDir: string): NetworkConfig {
  if (found.network !== undefined) return found.network;
  const ignored = found.problems.map(({ path, reason }) => `${path}: ${reason}`);
  const rest = ignored.length === 0 ? '' : ` (not usable: ${ignored.join('; ')})`;
  throw new RuntimeError('unavailable', `no network config found in ${confDir}${rest}`);
}

function readAddresses(network: NetworkConfig, result: CniResult | null): string[] {
  let ips: string[];
  try {
    ips = addressesOf(result ?? {}, POD_INTERFACE);
  } catch (error) {
    throw wrap(error, `network ${network.name}: the result of ADD is malformed`);
  }
  if (ips.length > 0) return ips;
  throw new RuntimeError(
    'internal',
    `network ${network.name}: the result of ADD has no address for ${POD_INTERFACE}`,
  );
}

function cniArgs({ id, metadata }: NetworkRequest): string {
  const pairs = [
    ['IgnoreUnknown', '1'],
    ['K8S_POD_NAMESPACE', metadata.namespace],
    ['K8S_POD_NAME', metadata.name],
    ['K8S_POD_INFRA_CONTAINER_ID', id],
    ['K8S_POD_UID', metadata.uid],
  ] as const;
  for (const [key, value] of pairs) {
    // The format has no escape: such a value would set another argument.
    if (!/[;=]/.test(value) && !hasControlCharacter(value)) continue;
    throw new RuntimeError(
      'invalid-argument',
      `${key} ${JSON.stringify(value)} has a ";", "=" or control character: CNI_ARGS cannot carry it`,
    );
  }
  return pairs.map(([key, value]) => `${key}=${value}`).join(';');
}

/** By name of the capability that a plugin must declare to be given it. */
function runtimeConfigOf({ portMappings }: NetworkRequest): Record<string, unknown> {
  const published = portMappings.filter(({ hostPort }) => hostPort > 0);
  if (published.length === 0) return {};
  return {
    portMappings: published.map(({ protocol, containerPort, hostPort, hostIp }) => ({
      protocol,
      containerPort,
      hostPort,
      hostIP: hostIp,
    })),
  };
}

/** A pinned namespace is a mount of nsfs; after a reboot the same path is an empty file or nothing. */
async function isNamespace(path: string): Promise<boolean> {
  if (path === '') return false;
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return false;
    throw wrap(error, `cannot look at network namespace ${path}`);
  }
}
