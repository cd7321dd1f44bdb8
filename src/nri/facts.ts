/** Pods and containers in NRI's words. */
import type {
  ContainerRecord,
  DeviceNode,
  Hook,
  Hooks,
  MountStatus,
  Resources,
} from '../core/model.js';
import type { PluginContainer, PluginPod } from '../core/ports/plugins.js';
import { localhostProfile } from '../core/security-profile.js';
import { Container, ContainerState, type Hook as NriHook, type Mount } from './gen/container.js';
import { LinuxResources, SecurityProfile_ProfileType, type LinuxDevice } from './gen/linux.js';
import { PodSandbox } from './gen/pod.js';

export function toPodSandbox({ record, namespaces }: PluginPod): PodSandbox {
  const { metadata, overhead, resources } = record;
  return PodSandbox.fromPartial({
    id: record.id,
    name: metadata.name,
    uid: metadata.uid,
    namespace: metadata.namespace,
    labels: new Map(record.labels),
    annotations: new Map(record.annotations),
    runtimeHandler: record.runtimeHandler,
    linux: {
      podOverhead: toLinuxResources(overhead),
      podResources: toLinuxResources(resources),
      cgroupParent: record.ownsCgroup ? '' : record.cgroup,
      cgroupsPath: record.cgroup,
      namespaces: namespaces.map(([type, path]) => ({ type, path })),
      resources: toLinuxResources(resources),
    },
    ips: record.ips,
  });
}

export function toContainer({ record, state, pid, startedAt, exit }: PluginContainer): Container {
  const { plugins } = record;
  const { uid, gid, supplementalGroups } = record.user;
  const hooks = (kind: keyof Hooks): NriHook[] =>
    [record.deviceHooks, plugins?.hooks].flatMap((each) => each?.[kind].map(toHook) ?? []);
  return Container.fromPartial({
    id: record.id,
    podSandboxId: record.sandboxId,
    name: record.metadata.name,
    state: {
      created: ContainerState.CONTAINER_CREATED,
      running: ContainerState.CONTAINER_RUNNING,
      exited: ContainerState.CONTAINER_STOPPED,
    }[state],
    labels: new Map(record.labels),
    annotations: new Map(plugins?.annotations ?? record.annotations),
    args: plugins?.argv ?? [],
    env: record.process.env,
    mounts: record.mounts.map(toMount),
    hooks: {
      prestart: hooks('prestart'),
      createRuntime: hooks('createRuntime'),
      poststart: hooks('poststart'),
      poststop: hooks('poststop'),
    },
    linux: {
      devices: plugins?.devices.map(toDevice) ?? [],
      resources: toLinuxResources(record.resources),
      oomScoreAdj: { value: BigInt(record.process.oomScoreAdj ?? 0) },
      cgroupsPath: record.cgroup.outer,
      seccompProfile: toSecurityProfile(record),
    },
    pid,
    rlimits: record.process.rlimits.map(({ type, soft, hard }) => ({
      type,
      soft: BigInt(soft),
      hard: BigInt(hard),
    })),
    createdAt: BigInt(record.createdAt),
    startedAt,
    finishedAt: exit?.finishedAt ?? 0n,
    exitCode: exit?.exitCode ?? 0,
    statusReason: exit?.oomKilled === true ? 'OOMKilled' : '',
    statusMessage: exit?.message ?? '',
    user: { uid, gid, additionalGids: supplementalGroups },
    image: { name: record.image, configDigest: record.imageId },
  });
}

/** 0 and '' stand for "not given" with us. */
export function toLinuxResources(resources: Resources | null): LinuxResources {
  if (resources === null) return LinuxResources.fromPartial({});
  const { cpuShares, cpuQuota, cpuPeriod, cpusetCpus, cpusetMems } = resources;
  const { memoryLimitBytes, memorySwapLimitBytes, hugepages } = resources;
  const given = (value: number): { value: bigint } | undefined =>
    value === 0 ? undefined : { value: BigInt(value) };
  const unified = new Map(resources.unified);
  const pids = unified.get('pids.max');
  return LinuxResources.fromPartial({
    memory: { limit: given(memoryLimitBytes), swap: given(memorySwapLimitBytes) },
    cpu: {
      shares: given(cpuShares),
      quota: given(cpuQuota),
      period: given(cpuPeriod),
      cpus: cpusetCpus,
      mems: cpusetMems,
    },
    hugepageLimits: hugepages.map(({ pageSize, limitBytes }) => ({
      pageSize,
      limit: BigInt(limitBytes),
    })),
    unified,
    ...(pids !== undefined && /^\d{1,18}$/.test(pids) && { pids: { limit: BigInt(pids) } }),
  });
}

function toMount(mount: MountStatus): Mount {
  const propagation = { private: 'rprivate', slave: 'rslave', shared: 'rshared' };
  return {
    destination: mount.containerPath,
    type: 'bind',
    source: mount.image === null ? mount.hostPath : mount.image.id,
    options: [
      'rbind',
      mount.recursiveReadonly ? 'rro' : mount.readonly ? 'ro' : 'rw',
      propagation[mount.propagation],
    ],
  };
}

function toDevice(node: DeviceNode): LinuxDevice {
  return {
    path: node.path,
    type: node.type === 'block' ? 'b' : 'c',
    major: BigInt(node.major),
    minor: BigInt(node.minor),
    fileMode: { value: node.mode },
    uid: { value: node.uid },
    gid: { value: node.gid },
  };
}

function toHook({ path, args, env, timeoutMs }: Hook): NriHook {
  const timeout = timeoutMs === 0 ? undefined : { value: BigInt(Math.ceil(timeoutMs / 1000)) };
  return { path, args, env, timeout };
}

function toSecurityProfile({ seccompProfile }: ContainerRecord) {
  const localhostRef = localhostProfile(seccompProfile);
  if (localhostRef !== undefined) {
    return { profileType: SecurityProfile_ProfileType.LOCALHOST, localhostRef };
  }
  return {
    profileType:
      seccompProfile === 'unconfined'
        ? SecurityProfile_ProfileType.UNCONFINED
        : SecurityProfile_ProfileType.RUNTIME_DEFAULT,
    localhostRef: '',
  };
}
