/** The CRI messages for a Pod manifest: what a kubelet would send for it. Pure. */
import { posix } from 'node:path';
import {
  ContainerConfig,
  MountPropagation,
  PodSandboxConfig,
  Protocol,
  Signal,
} from '../../cri/gen/index.js';
import type { Mount } from '../../cri/gen/index.js';
import { podDns } from './dns.js';
import { expandVariables } from './expand.js';
import { containerResources, resourceField } from './resources.js';
import type { Machine } from './resources.js';
import { KEYED_FIELD, toSignal } from './container-schema.js';
import type { ContainerManifest, FIELDS } from './container-schema.js';
import { everyContainer } from './schema.js';
import type { PodManifest } from './schema.js';
import { containerSecurity, namespaceOptions, podGroups, seccomp } from './security.js';

export interface PodSetting {
  uid: string;
  /** Name of this machine. */
  nodeName: string;
  logDirectory: string;
  /** Folder with what the pod's containers mount; see pod-files.ts for its layout. */
  filesDirectory: string;
  hostResolvConf: string;
  machine: Machine;
}

export const LABEL_POD_NAME = 'io.kubernetes.pod.name';
export const LABEL_POD_NAMESPACE = 'io.kubernetes.pod.namespace';
export const LABEL_POD_UID = 'io.kubernetes.pod.uid';
export const LABEL_CONTAINER_NAME = 'io.kubernetes.container.name';
/** Seconds, on every container; the kubelet's own key, so that its pods are understood as well. */
export const ANNOTATION_GRACE_PERIOD = 'io.kubernetes.pod.terminationGracePeriod';

/** HOST_NAME_MAX less one, as the kubelet cuts it. */
const HOSTNAME_MAX = 63;

export function podHostname(pod: PodManifest, nodeName: string): string {
  if (pod.spec.hostNetwork) return nodeName;
  if (pod.spec.hostnameOverride !== undefined) return pod.spec.hostnameOverride;
  const name = pod.spec.hostname ?? pod.metadata.name;
  return name.slice(0, HOSTNAME_MAX).replace(/[-.]+$/, '');
}

export function sandboxConfig(pod: PodManifest, setting: PodSetting): PodSandboxConfig {
  const { metadata, spec } = pod;
  const { runAsUser, runAsGroup, sysctls } = spec.securityContext;
  const containers = everyContainer(spec).map(({ container }) => container);
  return PodSandboxConfig.create({
    metadata: {
      name: metadata.name,
      namespace: metadata.namespace,
      uid: setting.uid,
      attempt: 0,
    },
    hostname: podHostname(pod, setting.nodeName),
    logDirectory: setting.logDirectory,
    dnsConfig: podDns(spec, setting.hostResolvConf),
    portMappings: containers.flatMap(({ ports }) =>
      ports.map((port) => ({
        protocol: Protocol[port.protocol],
        containerPort: port.containerPort,
        hostPort: port.hostPort,
        hostIp: port.hostIP ?? '',
      })),
    ),
    labels: new Map([...metadata.labels, ...identityLabels(pod, setting.uid)]),
    annotations: new Map(metadata.annotations),
    linux: {
      sysctls: new Map(sysctls.map(({ name, value }) => [name, value])),
      securityContext: {
        namespaceOptions: namespaceOptions(spec),
        ...(runAsUser !== undefined && { runAsUser: { value: BigInt(runAsUser) } }),
        ...(runAsGroup !== undefined && { runAsGroup: { value: BigInt(runAsGroup) } }),
        supplementalGroups: podGroups(spec).map(BigInt),
        privileged: containers.some((container) => container.securityContext.privileged),
        seccomp: seccomp(undefined),
      },
    },
  });
}

/** `image` is the id ImageStatus gave; `ips` are the pod's, for status.podIP. */
export function containerConfig(
  pod: PodManifest,
  container: ContainerManifest,
  image: string,
  ips: readonly string[],
  setting: PodSetting,
): ContainerConfig {
  const { spec } = pod;
  const env = environment(pod, container, ips, setting);
  const expand = (text: string): string => expandVariables(text, env);
  return ContainerConfig.create({
    metadata: { name: container.name, attempt: 0 },
    image: { image, userSpecifiedImage: container.image },
    command: container.command.map(expand),
    args: container.args.map(expand),
    workingDir: container.workingDir,
    envs: [...env].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mounts(pod, container, setting.filesDirectory),
    labels: new Map([[LABEL_CONTAINER_NAME, container.name], ...identityLabels(pod, setting.uid)]),
    annotations: new Map([
      [ANNOTATION_GRACE_PERIOD, String(spec.terminationGracePeriodSeconds)],
      ['io.kubernetes.container.restartCount', '0'],
      ['io.kubernetes.container.terminationMessagePath', container.terminationMessagePath],
      ['io.kubernetes.container.terminationMessagePolicy', container.terminationMessagePolicy],
    ]),
    logPath: `${container.name}/0.log`,
    stdin: container.stdin,
    stdinOnce: container.stdinOnce,
    tty: container.tty,
    stopSignal: toSignal(container.lifecycle.stopSignal ?? '') ?? Signal.RUNTIME_DEFAULT,
    linux: {
      resources: containerResources(spec, container, setting.machine.memoryBytes),
      securityContext: containerSecurity(spec, container),
    },
  });
}

function identityLabels(pod: PodManifest, uid: string): [string, string][] {
  return [
    [LABEL_POD_NAME, pod.metadata.name],
    [LABEL_POD_NAMESPACE, pod.metadata.namespace],
    [LABEL_POD_UID, uid],
  ];
}

/** A value may refer to variables above it; a name given twice has its last value. */
function environment(
  pod: PodManifest,
  container: ContainerManifest,
  ips: readonly string[],
  setting: PodSetting,
): Map<string, string> {
  const env = new Map<string, string>();
  for (const { name, value, valueFrom } of container.env) {
    env.set(
      name,
      valueFrom === undefined
        ? expandVariables(value ?? '', env)
        : referredValue(pod, container, valueFrom, ips, setting),
    );
  }
  return env;
}

function referredValue(
  pod: PodManifest,
  container: ContainerManifest,
  { fieldRef, resourceFieldRef }: NonNullable<ContainerManifest['env'][number]['valueFrom']>,
  ips: readonly string[],
  setting: PodSetting,
): string {
  if (fieldRef !== undefined) return fieldValue(pod, fieldRef.fieldPath, ips, setting);
  // That there is one of the two was checked when the manifest was read.
  if (resourceFieldRef === undefined) return '';
  const { resource, divisor = 1000n } = resourceFieldRef;
  return String(resourceField(container, resource, divisor, setting.machine));
}

function fieldValue(
  pod: PodManifest,
  path: string,
  ips: readonly string[],
  setting: PodSetting,
): string {
  const [, map, key] = KEYED_FIELD.exec(path) ?? [];
  if (map !== undefined) {
    const list = map === 'labels' ? pod.metadata.labels : pod.metadata.annotations;
    return list.find(([name]) => name === key)?.[1] ?? '';
  }
  switch (path as (typeof FIELDS)[number]) {
    case 'metadata.name':
      return pod.metadata.name;
    case 'metadata.namespace':
      return pod.metadata.namespace;
    case 'metadata.uid':
      return setting.uid;
    case 'spec.nodeName':
      return setting.nodeName;
    case 'status.podIP':
      return ips[0] ?? '';
    case 'status.podIPs':
      return ips.join(',');
  }
}

const PROPAGATION = {
  None: MountPropagation.PROPAGATION_PRIVATE,
  HostToContainer: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  Bidirectional: MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

function mounts(
  pod: PodManifest,
  container: ContainerManifest,
  files: string,
): Pick<Mount, 'containerPath' | 'hostPath' | 'readonly' | 'recursiveReadOnly' | 'propagation'>[] {
  const sources = new Map(
    pod.spec.volumes.map(({ name, hostPath }) => [
      name,
      hostPath?.path ?? emptyDirPath(files, name),
    ]),
  );
  const list = container.volumeMounts.map((mount) => ({
    containerPath: mount.mountPath,
    hostPath: sources.get(mount.name) ?? '',
    readonly: mount.readOnly,
    recursiveReadOnly: mount.recursiveReadOnly !== 'Disabled',
    propagation: PROPAGATION[mount.mountPropagation],
  }));
  const taken = new Set(list.map(({ containerPath }) => posix.normalize(containerPath)));
  const own = [
    { containerPath: '/etc/hosts', hostPath: hostsPath(files) },
    {
      containerPath: container.terminationMessagePath,
      hostPath: terminationLogPath(files, container.name),
    },
  ];
  for (const mount of own) {
    if (taken.has(posix.normalize(mount.containerPath))) continue;
    list.push({
      ...mount,
      readonly: false,
      recursiveReadOnly: false,
      propagation: PROPAGATION.None,
    });
  }
  return list;
}

export function emptyDirPath(files: string, volume: string): string {
  return posix.join(files, 'volumes', volume);
}

export function hostsPath(files: string): string {
  return posix.join(files, 'etc-hosts');
}

export function terminationLogPath(files: string, container: string): string {
  return posix.join(files, 'containers', container, 'termination-log');
}
