/** Builds every part and wires them by their constructors. Nothing is started here but threads. */
import { join } from 'node:path';
import type { CdiSettings } from './cdi-files.js';
import { Cgroup2Tree } from './cgroup/cgroup-tree.js';
import { requireSystemdDriver, SystemdCgroupTree } from './cgroup/systemd-tree.js';
import { isSystemdHost, SystemdUnits } from './cgroup/systemd-units.js';
import type { Config } from './config/schema.js';
import { CgroupLayouts } from './core/cgroup-layout.js';
import type { PullUnderWay } from './core/pull-progress.js';
import { agentName, readHostFacts } from './host-facts.js';
import { FolderImageStore } from './images/image-store.js';
import { createRegistryPusher } from './images/registry/push.js';
import { createRegistryOpener } from './images/registry/source.js';
import { ImagePolicy } from './images/signature/image-policy.js';
import { PolicyVerifier } from './images/signature/image-verifier.js';
import { createUnpack } from './images/unpack/unpack-process.js';
import { HostAppArmor } from './lxc/apparmor.js';
import { LxcEngine } from './lxc/engine.js';
import { PausePodInit } from './lxc/pod-init.js';
import { hasUserNamespaces } from './user-namespace-probe.js';
import { libexecDir, type NativeAddon } from './native/binding.js';
import { ProcessSpawner, runProcess } from './native/process.js';
import { CniNetwork } from './network/cni/network.js';
import { PinnedNamespaces } from './network/namespaces.js';
import type { InstalledPlugins } from './nri/installed-plugins.js';
import type { NriPluginHost } from './nri/plugin-host.js';
import type { AgentLogger } from './observe/log.js';
import { openStorage } from './open-storage.js';
import type { Metrics } from './observe/metrics.js';
import { logPull } from './observe/pull-log.js';
import type { RuntimeContext } from './runtime/context.js';
import { Objects } from './runtime/objects.js';
import { newPlugins } from './runtime/plugins.js';
import { TmpfsSharedMemory } from './storage/pod-shared-memory.js';
import { FileObjectFolders } from './store/object-folders.js';
import { FileStateStore } from './store/state-store.js';
import { parseGoDuration } from './util/go-duration.js';
import { KeyedMutex } from './util/keyed-mutex.js';
import { VERSION } from './version.js';

export interface Composition {
  context: RuntimeContext;
  /** undefined where the configuration asks for none. */
  metrics: Metrics | undefined;
  /** null where the configuration asks for none. */
  plugins: { host: NriPluginHost; installed: InstalledPlugins } | null;
  /** Takes over the reloadable keys. */
  applyConfig(config: Config): void;
  /** Ends threads and descriptors; containers, mounts and records stay. */
  close(): Promise<void>;
}

export async function compose(
  config: Config,
  addon: NativeAddon,
  log: AgentLogger,
): Promise<Composition> {
  const { root, state } = config;
  const spawner = new ProcessSpawner(addon);
  const tree = new Cgroup2Tree({ addon });
  if (config.cgroup.driver === 'systemd') {
    requireSystemdDriver({ isSystemd: isSystemdHost(), cgroupRoot: tree.root });
  }
  const units = new SystemdUnits({ spawner, libexecDir: libexecDir() });
  const cgroups = new SystemdCgroupTree(tree, units);
  const layouts = new CgroupLayouts(config.cgroup.driver, agentName(root));
  const network = new CniNetwork(cniFolders(config), {
    cacheFolder: join(root, 'networks'),
    run: (options) => runProcess(spawner, options),
    lockFile: (path) => addon.lockFile(path),
  });
  let imageConfig = config.images;
  let cdi = cdiSettings(config);
  const openRegistry = createRegistryOpener(() => imageConfig.hosts_dir);
  const readPolicy = (): Promise<ImagePolicy> => ImagePolicy.read(imageConfig.policy);
  const imagesRoot = join(root, 'images');
  const storage = await openStorage(config, addon, spawner);
  const userNamespaces = await hasUserNamespaces(addon, join(state, 'namespaces'), imagesRoot);
  const host = readHostFacts(spawner, new HostAppArmor(spawner), () => cdi, userNamespaces);
  const images = await FolderImageStore.open({
    bootId: host.bootId,
    root: imagesRoot,
    layers: storage,
    mountVolume: (options) => addon.mountVolume(options),
    unpack: createUnpack(spawner),
    openRegistry,
    readPolicy,
    readLocalSources: () => imageConfig.local_sources,
    pushImage: createRegistryPusher(() => imageConfig.hosts_dir),
    onPullEnd: (report) => {
      logPull(log, report);
      metrics?.pullEnded(report);
    },
  });
  const metrics = await loadMetrics(config, () => images.pullsUnderWay());
  const objects = new Objects();
  const plugins = await loadPlugins(config, spawner, log);
  for (const file of images.unreadable()) {
    log.error({ ...file }, 'the record of an image or layer is damaged or too new; it is not used');
  }
  const context: RuntimeContext = {
    store: new FileStateStore(root),
    folders: new FileObjectFolders({ root, state }),
    namespaces: new PinnedNamespaces({ addon, directory: join(state, 'namespaces') }),
    network,
    rootfs: storage,
    sharedMemory: new TmpfsSharedMemory({ addon, directory: join(state, 'shm') }),
    images,
    imageVerifier: new PolicyVerifier({ images, openRegistry, readPolicy }),
    podInit: new PausePodInit({ spawner, libexecDir: libexecDir(), cgroupRoot: tree.root }),
    engine: new LxcEngine({ spawner, libexecDir: libexecDir(), cgroupRoot: tree.root }),
    cgroups,
    layouts,
    log,
    host,
    plugins: plugins && newPlugins(plugins.host),
    objects,
    locks: new KeyedMutex(),
    pending: new Map(),
  };
  return {
    context,
    metrics,
    plugins,
    applyConfig: (changed) => {
      network.configure(cniFolders(changed));
      imageConfig = changed.images;
      cdi = cdiSettings(changed);
    },
    close: async () => {
      await images.close();
      if (objects.isEmpty()) for (const { base } of layouts.all) await cgroups.remove(base);
      tree.close();
      spawner.close();
    },
  };
}

function cdiSettings({ devices }: Config): CdiSettings {
  return { enabled: devices.enable_cdi, folders: devices.cdi_spec_dirs };
}

function cniFolders(config: Config): { confDir: string; binDirs: readonly string[] } {
  return { confDir: config.network.conf_dir, binDirs: config.network.bin_dirs };
}

/** Those who want no plugins do not pay for them with memory. */
async function loadPlugins(
  config: Config,
  spawner: ProcessSpawner,
  log: AgentLogger,
): Promise<Composition['plugins']> {
  const { nri } = config;
  if (!nri.enable) return null;
  const { NriPluginHost } = await import('./nri/plugin-host.js');
  const { InstalledPlugins } = await import('./nri/installed-plugins.js');
  const { defaultValidator } = await import('./nri/default-validator.js');
  const rules = nri.default_validator;
  const host = new NriPluginHost({
    runtimeVersion: VERSION,
    registrationTimeoutMs: parseGoDuration(nri.plugin_registration_timeout) ?? 0,
    requestTimeoutMs: parseGoDuration(nri.plugin_request_timeout) ?? 0,
    validators: rules.enable
      ? [
          defaultValidator({
            rejectHooks: rules.reject_oci_hook_adjustment,
            rejectRuntimeDefaultSeccomp: rules.reject_runtime_default_seccomp_adjustment,
            rejectUnconfinedSeccomp: rules.reject_unconfined_seccomp_adjustment,
            rejectCustomSeccomp: rules.reject_custom_seccomp_adjustment,
            requiredPlugins: rules.required_plugins,
            toleration: rules.tolerate_missing_plugins_annotation,
          }),
        ]
      : [],
    log,
  });
  const installed = new InstalledPlugins({
    spawner,
    host,
    pluginPath: nri.plugin_path,
    configPath: nri.plugin_config_path,
    log,
  });
  return { host, installed };
}

/** The library takes memory: it is loaded for those who want figures. */
async function loadMetrics(
  config: Config,
  pullsUnderWay: () => PullUnderWay[],
): Promise<Metrics | undefined> {
  if (config.metrics.address === '') return undefined;
  const { createMetrics } = await import('./observe/metrics.js');
  return createMetrics(pullsUnderWay);
}
