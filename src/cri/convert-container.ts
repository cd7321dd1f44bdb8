/** CreateContainer requests from CRI messages to the runtime's own types. */
import { cdiDeviceNames } from '../core/cdi.js';
import { textFromBytes } from '../core/byte-text.js';
import { RuntimeError } from '../core/errors.js';
import type { BindMount, SecurityProfile } from '../core/model.js';
import type { ContainerRequest, MountRequest, UserRequest } from '../core/requests.js';
import { parseSecurityProfile } from '../core/security-profile.js';
import { parseSignal } from '../core/signals.js';
import { parseUserNamespace } from '../core/user-namespace.js';
import type { ContainerConfig, CreateContainerRequest } from './gen/container.js';
import { MountPropagation, type Mount } from './gen/mount.js';
import {
  SecurityProfile_ProfileType as ProfileType,
  SupplementalGroupsPolicy,
  type LinuxContainerSecurityContext,
  type SecurityProfile as WireProfile,
} from './gen/security.js';
import { Signal } from './gen/signal.js';
import { toNamespaces, toUserNamespace } from './convert-sandbox.js';
import { toResources } from './convert-resources.js';

export function toContainerRequest({
  podSandboxId,
  config,
}: CreateContainerRequest): ContainerRequest {
  if (!config?.metadata) {
    throw new RuntimeError(
      'invalid-argument',
      'CreateContainer: config.metadata is missing: give it',
    );
  }
  const security = config.linux?.securityContext;
  const namespaces = toNamespaces(security?.namespaceOptions);
  const userNamespace = toUserNamespace(security?.namespaceOptions);
  const privileged = security?.privileged ?? false;
  return {
    sandboxId: podSandboxId,
    metadata: { ...config.metadata },
    image: config.image?.image ?? '',
    userSpecifiedImage: config.image?.userSpecifiedImage ?? '',
    command: config.command,
    args: config.args,
    workingDir: config.workingDir,
    env: config.envs.map(({ key, value }) => [key, textFromBytes(value)]),
    devices: config.devices.map((device) => ({ ...device })),
    cdiDevices: cdiDeviceNames(
      config.CDIDevices.map(({ name }) => name),
      [...config.annotations],
    ),
    cdiNodes: [],
    cdiHooks: null,
    mounts: config.mounts.map(toMount),
    labels: [...config.labels],
    annotations: [...config.annotations],
    logPath: config.logPath,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    tty: config.tty,
    user: toUser(security),
    capabilities: {
      add: security?.capabilities?.addCapabilities ?? [],
      drop: security?.capabilities?.dropCapabilities ?? [],
      ambient: security?.capabilities?.addAmbientCapabilities ?? [],
    },
    privileged,
    readonlyRootfs: security?.readonlyRootfs ?? false,
    noNewPrivileges: security?.noNewPrivs ?? false,
    ...toProfiles(security),
    maskedPaths: security?.maskedPaths ?? [],
    readonlyPaths: security?.readonlyPaths ?? [],
    pid: security?.namespaceOptions ? namespaces.pid : null,
    targetId: namespaces.targetId,
    ...(userNamespace !== undefined && { userNamespace }),
    resources: toResources(config.linux?.resources),
    oomScoreAdj: toOomScoreAdj(config),
    stopSignal: toStopSignal(config.stopSignal),
  };
}

function toMount(wire: Mount): MountRequest {
  const { uidMappings: uids, gidMappings: gids } = wire;
  return {
    source: wire.hostPath,
    target: wire.containerPath,
    readonly: wire.readonly,
    recursiveReadonly: wire.recursiveReadOnly,
    propagation: toPropagation(wire.propagation),
    ...((uids.length > 0 || gids.length > 0) && {
      idMap: parseUserNamespace(`mount ${wire.containerPath} mappings`, { uids, gids }),
    }),
    ...(wire.image?.image && {
      image: {
        name: wire.image.image,
        userSpecifiedImage: wire.image.userSpecifiedImage,
        subPath: wire.imageSubPath,
      },
    }),
  };
}

function toPropagation(wire: MountPropagation): BindMount['propagation'] {
  switch (wire) {
    case MountPropagation.PROPAGATION_PRIVATE:
      return 'private';
    case MountPropagation.PROPAGATION_HOST_TO_CONTAINER:
      return 'slave';
    case MountPropagation.PROPAGATION_BIDIRECTIONAL:
      return 'shared';
    default:
      throw new RuntimeError('invalid-argument', `mounts: propagation ${wire} is unknown`);
  }
}

function toUser(security: LinuxContainerSecurityContext | undefined): UserRequest {
  const user: UserRequest = {
    uid: security?.runAsUser ? Number(security.runAsUser.value) : null,
    gid: security?.runAsGroup ? Number(security.runAsGroup.value) : null,
    username: security?.runAsUsername ?? '',
    supplementalGroups: (security?.supplementalGroups ?? []).map(Number),
    policy:
      security?.supplementalGroupsPolicy === SupplementalGroupsPolicy.Strict ? 'strict' : 'merge',
  };
  if (user.uid !== null && user.username !== '') {
    throw new RuntimeError(
      'invalid-argument',
      `run_as_user ${user.uid} and run_as_username ${JSON.stringify(user.username.slice(0, 80))} are both given: give one of them`,
    );
  }
  if (user.gid !== null && user.uid === null && user.username === '') {
    throw new RuntimeError(
      'invalid-argument',
      `run_as_group ${user.gid} is given without run_as_user or run_as_username: give one of them`,
    );
  }
  return user;
}

/** The superseded strings are for clients that leave the fields out; a kubelet gives both. */
function toProfiles(
  security: LinuxContainerSecurityContext | undefined,
): Pick<ContainerRequest, 'seccomp' | 'apparmor'> {
  const { seccomp, apparmor } = security ?? {};
  /* eslint-disable @typescript-eslint/no-deprecated -- older kubelets know nothing else */
  const seccompString = security?.seccompProfilePath ?? '';
  const apparmorString = security?.apparmorProfile ?? '';
  /* eslint-enable @typescript-eslint/no-deprecated */
  return {
    // Conformance has it that no profile means no filter; the kubelet always names one.
    seccomp:
      toProfile('security_context.seccomp', seccomp) ??
      toProfileOf('security_context.seccomp_profile_path', seccompString) ??
      'unconfined',
    apparmor:
      toProfile('security_context.apparmor', apparmor) ??
      toProfileOf('security_context.apparmor_profile', apparmorString),
  };
}

function toProfile(field: string, profile: WireProfile | undefined): SecurityProfile | null {
  switch (profile?.profileType) {
    case undefined:
      return null;
    case ProfileType.RuntimeDefault:
      return 'runtime-default';
    case ProfileType.Unconfined:
      return 'unconfined';
    case ProfileType.Localhost:
      // Conformance gives it with the prefix of the superseded strings, too.
      return `localhost/${profile.localhostRef.replace(/^localhost\//, '')}`;
    default:
      throw new RuntimeError(
        'invalid-argument',
        `${field}.profile_type ${profile?.profileType} is unknown`,
      );
  }
}

function toProfileOf(field: string, value: string): SecurityProfile | null {
  return value === '' ? null : parseSecurityProfile(field, value);
}

function toOomScoreAdj(config: ContainerConfig): number | null {
  const resources = config.linux?.resources;
  if (!resources) return null;
  const value = Number(resources.oomScoreAdj);
  if (value < -1000 || value > 1000) {
    throw new RuntimeError(
      'invalid-argument',
      `linux.resources.oom_score_adj ${value} is out of range: expected -1000 to 1000`,
    );
  }
  return value;
}

/** CRI numbers its signals alphabetically: they go by name. 0 stands for the image's choice. */
function toStopSignal(wire: Signal): number {
  if (wire === Signal.RUNTIME_DEFAULT) return 0;
  const name = Object.entries(Signal).find(([, value]) => value === wire)?.[0] ?? '';
  const number = parseSignal(name.replace('PLUS', '+').replace('MINUS', '-'));
  if (number !== 0) return number;
  throw new RuntimeError('invalid-argument', `config.stop_signal ${wire} is unknown`);
}

/** The name CRI has for a signal number; RUNTIME_DEFAULT where it has none. */
export function fromSignal(number: number): Signal {
  const found = Object.entries(Signal).find(
    ([name]) => parseSignal(name.replace('PLUS', '+').replace('MINUS', '-')) === number,
  );
  return found?.[1] ?? Signal.RUNTIME_DEFAULT;
}
