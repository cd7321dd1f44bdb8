/** securityContext of pod and container as the CRI states it. */
import {
  LinuxContainerSecurityContext,
  NamespaceMode,
  NamespaceOption,
  SecurityProfile,
  SecurityProfile_ProfileType as ProfileType,
  SupplementalGroupsPolicy,
} from '../../cri/gen/index.js';
import { posix } from 'node:path';
import { SECCOMP_FOLDER } from './container-schema.js';
import type { AppArmorProfile, ContainerManifest, SeccompProfile } from './container-schema.js';
import type { PodSpec } from './schema.js';

/** What the kubelet hides from a container with procMount Default. */
const MASKED_PATHS = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const READONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export function namespaceOptions(spec: PodSpec): NamespaceOption {
  return NamespaceOption.create({
    network: spec.hostNetwork ? NamespaceMode.NODE : NamespaceMode.POD,
    pid: spec.hostPID
      ? NamespaceMode.NODE
      : spec.shareProcessNamespace
        ? NamespaceMode.POD
        : NamespaceMode.CONTAINER,
    ipc: spec.hostIPC ? NamespaceMode.NODE : NamespaceMode.POD,
  });
}

export function containerSecurity(
  spec: PodSpec,
  container: ContainerManifest,
): LinuxContainerSecurityContext {
  const pod = spec.securityContext;
  const own = container.securityContext;
  const uid = own.runAsUser ?? pod.runAsUser;
  const gid = own.runAsGroup ?? pod.runAsGroup;
  return LinuxContainerSecurityContext.create({
    capabilities: {
      addCapabilities: own.capabilities.add,
      dropCapabilities: own.capabilities.drop,
    },
    privileged: own.privileged,
    namespaceOptions: namespaceOptions(spec),
    ...(uid !== undefined && { runAsUser: { value: BigInt(uid) } }),
    ...(gid !== undefined && { runAsGroup: { value: BigInt(gid) } }),
    readonlyRootfs: own.readOnlyRootFilesystem,
    supplementalGroups: podGroups(spec).map(BigInt),
    supplementalGroupsPolicy: SupplementalGroupsPolicy[pod.supplementalGroupsPolicy],
    noNewPrivs: !own.allowPrivilegeEscalation,
    maskedPaths: own.privileged ? [] : MASKED_PATHS,
    readonlyPaths: own.privileged ? [] : READONLY_PATHS,
    seccomp: seccomp(own.seccompProfile ?? pod.seccompProfile),
    ...apparmor(own.appArmorProfile ?? pod.appArmorProfile),
  });
}

/** The group that owns the pod's volumes is one of every container. */
export function podGroups({ securityContext }: PodSpec): number[] {
  const { fsGroup, supplementalGroups } = securityContext;
  return fsGroup === undefined || supplementalGroups.includes(fsGroup)
    ? supplementalGroups
    : [...supplementalGroups, fsGroup];
}

/** Without a profile the runtime's default is asked for, as a kubelet does with seccompDefault on. */
export function seccomp(profile: SeccompProfile | undefined): SecurityProfile {
  return SecurityProfile.create({
    profileType: ProfileType[profile?.type ?? 'RuntimeDefault'],
    localhostRef:
      profile?.type === 'Localhost'
        ? posix.join(SECCOMP_FOLDER, profile.localhostProfile ?? '')
        : '',
  });
}

function apparmor(profile: AppArmorProfile | undefined): { apparmor?: SecurityProfile } {
  if (profile === undefined) return {};
  return {
    apparmor: SecurityProfile.create({
      profileType: ProfileType[profile.type],
      localhostRef: profile.localhostProfile ?? '',
    }),
  };
}

/**
 * Why runAsNonRoot forbids the container, or undefined. `image` is what ImageStatus tells of the image's
 * user; a user known by name alone can't be judged from here, and the kubelet refuses it too.
 */
export function rootRefusal(
  spec: PodSpec,
  container: ContainerManifest,
  image: { uid?: bigint | undefined; username: string },
): string | undefined {
  const own = container.securityContext;
  if (!(own.runAsNonRoot ?? spec.securityContext.runAsNonRoot ?? false)) return undefined;
  const asked = own.runAsUser ?? spec.securityContext.runAsUser;
  if (asked !== undefined) return asked === 0 ? 'runAsUser is 0' : undefined;
  if (image.uid !== undefined) return image.uid === 0n ? 'the image runs as root' : undefined;
  return image.username === ''
    ? 'the image runs as root'
    : `the image's user ${JSON.stringify(image.username)} is a name: set runAsUser`;
}
