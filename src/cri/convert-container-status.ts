/** Containers from the runtime's own types to CRI's list items and status. */
import { capabilityName } from '../core/capabilities.js';
import type { ContainerRecord, ExitRecord, MountStatus } from '../core/model.js';
import type { Container } from '../runtime/objects.js';
import { fromSignal } from './convert-container.js';
import { fromResources } from './convert-resources.js';
import { toMap } from './convert-sandbox.js';
import {
  Container as ContainerMessage,
  ContainerState,
  type ContainerStatus,
} from './gen/container.js';
import type { ImageSpec } from './gen/image.js';
import { MountPropagation, type Mount } from './gen/mount.js';

const STATES = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
} as const;

const PROPAGATIONS = {
  private: MountPropagation.PROPAGATION_PRIVATE,
  slave: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  shared: MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

export function containerState(container: Container): ContainerState {
  return STATES[container.life.state];
}

export function encodeContainerItem(container: Container): Uint8Array {
  const { record } = container;
  return ContainerMessage.encode({
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata: record.metadata,
    image: imageSpec(record),
    imageRef: record.imageRef,
    state: containerState(container),
    createdAt: BigInt(record.createdAt),
    labels: toMap(record.labels),
    annotations: toMap(record.annotations),
    imageId: record.imageId,
  }).finish();
}

export function toContainerStatus(container: Container): ContainerStatus {
  const { record, life } = container;
  const exit = life.state === 'exited' ? life.exit : undefined;
  const startedAt = life.state === 'running' ? life.startedAt : (exit?.startedAt ?? 0n);
  return {
    id: record.id,
    metadata: record.metadata,
    state: containerState(container),
    createdAt: BigInt(record.createdAt),
    startedAt,
    finishedAt: exit?.finishedAt ?? 0n,
    exitCode: exit?.exitCode ?? 0,
    image: imageSpec(record),
    imageRef: record.imageRef,
    reason: exit ? exitReason(exit, record.lost !== null) : '',
    message: exit?.message ?? '',
    labels: toMap(record.labels),
    annotations: toMap(record.annotations),
    mounts: record.mounts.map(toMount),
    logPath: record.logPath,
    resources: fromResources(record.resources),
    imageId: record.imageId,
    user: {
      linux: {
        uid: BigInt(record.user.uid),
        gid: BigInt(record.user.gid),
        supplementalGroups: record.user.supplementalGroups.map(BigInt),
      },
    },
    stopSignal: fromSignal(record.stopSignal),
  };
}

/** The kubelet compares with `OOMKilled` to the letter; the others are for people. */
function exitReason(exit: ExitRecord, lost: boolean): string {
  if (lost) return 'ContainerStatusUnknown';
  if (exit.oomKilled) return 'OOMKilled';
  if (exit.startedAt === 0n) return exit.message === '' ? 'NeverStarted' : 'ContainerCannotRun';
  return exit.exitCode === 0 ? 'Completed' : 'Error';
}

/** What `inspect` shows beyond CRI's own fields. */
export function containerInfo(container: Container): string {
  const { record, life } = container;
  return JSON.stringify({
    sandboxId: record.sandboxId,
    pid: life.state === 'exited' ? 0 : life.pid,
    cgroup: record.cgroup.outer,
    process: {
      ...record.process,
      capabilities: record.process.capabilities.map(capabilityName),
    },
    seccompProfile: record.seccompProfile,
    pidNamespace: record.pidNamespace,
    tty: record.tty,
    stdin: record.stdin,
  });
}

function imageSpec({ image, userSpecifiedImage }: ContainerRecord): ImageSpec {
  return { image, annotations: new Map(), userSpecifiedImage, runtimeHandler: '', imageRef: '' };
}

function toMount(mount: MountStatus): Mount {
  return {
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    readonly: mount.readonly,
    selinuxRelabel: false,
    propagation: PROPAGATIONS[mount.propagation],
    uidMappings: mount.idMap ? [mount.idMap.uids] : [],
    gidMappings: mount.idMap ? [mount.idMap.gids] : [],
    recursiveReadOnly: mount.recursiveReadonly,
    image: mount.image
      ? {
          image: mount.image.name,
          annotations: new Map(),
          userSpecifiedImage: mount.image.userSpecifiedImage,
          runtimeHandler: '',
          // The kubelet reports it as the volume's digest (KEP-5365).
          imageRef: mount.image.id,
        }
      : undefined,
    imageSubPath: mount.image?.subPath ?? '',
  };
}
