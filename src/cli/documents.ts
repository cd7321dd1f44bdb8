/** CRI messages as the documents `--json` prints: stable camelCase, times in RFC 3339, words for states. */
import { LayerState } from '../admin/client.js';
import type { ImageSummary, Pull } from '../admin/client.js';
import { ContainerState, PodSandboxState } from '../cri/gen/index.js';
import type {
  Container,
  ContainerStats,
  ContainerStatus,
  Image,
  PodSandbox,
  PodSandboxStatus,
} from '../cri/gen/index.js';
import { isoTime } from './human-units.js';

export type PodState = 'ready' | 'notready';
export type ContainerStateName = 'created' | 'running' | 'exited' | 'unknown';

export const POD_STATES: readonly PodState[] = ['ready', 'notready'];
export const CONTAINER_STATES: readonly ContainerStateName[] = [
  'created',
  'running',
  'exited',
  'unknown',
];

export function podState(state: PodSandboxState): PodState {
  return state === PodSandboxState.SANDBOX_READY ? 'ready' : 'notready';
}

export function containerState(state: ContainerState): ContainerStateName {
  switch (state) {
    case ContainerState.CONTAINER_CREATED:
      return 'created';
    case ContainerState.CONTAINER_RUNNING:
      return 'running';
    case ContainerState.CONTAINER_EXITED:
      return 'exited';
    default:
      return 'unknown';
  }
}

/** `status` is absent for a pod that was removed since it was listed. */
export function podDocument(pod: PodSandbox, status: PodSandboxStatus | undefined): object {
  return {
    id: pod.id,
    name: pod.metadata?.name ?? '',
    namespace: pod.metadata?.namespace ?? '',
    uid: pod.metadata?.uid ?? '',
    attempt: pod.metadata?.attempt ?? 0,
    state: podState(status?.state ?? pod.state),
    createdAt: isoTime(pod.createdAt),
    ips: podIps(status),
    labels: mapDocument(pod.labels),
    annotations: mapDocument(pod.annotations),
    runtimeHandler: pod.runtimeHandler,
  };
}

export function podIps(status: PodSandboxStatus | undefined): string[] {
  const network = status?.network;
  if (network === undefined || network.ip === '') return [];
  return [network.ip, ...network.additionalIps.map(({ ip }) => ip)];
}

export function containerDocument(
  container: Container,
  pod: PodSandbox | undefined,
  status: ContainerStatus | undefined,
): object {
  const state = containerState(status?.state ?? container.state);
  return {
    id: container.id,
    name: container.metadata?.name ?? '',
    attempt: container.metadata?.attempt ?? 0,
    podId: container.podSandboxId,
    podName: pod?.metadata?.name ?? '',
    podNamespace: pod?.metadata?.namespace ?? '',
    state,
    image: container.image?.userSpecifiedImage || (container.image?.image ?? ''),
    imageId: container.imageId,
    createdAt: isoTime(container.createdAt),
    startedAt: isoTime(status?.startedAt ?? 0n),
    finishedAt: isoTime(status?.finishedAt ?? 0n),
    exitCode: state === 'exited' && status !== undefined ? status.exitCode : null,
    reason: status?.reason ?? '',
    message: status?.message ?? '',
    logPath: status?.logPath ?? '',
    labels: mapDocument(container.labels),
    annotations: mapDocument(container.annotations),
  };
}

export function imageDocument(image: Image): object {
  return {
    id: image.id,
    repoTags: image.repoTags,
    repoDigests: image.repoDigests,
    size: Number(image.size),
    uid: image.uid === undefined ? null : Number(image.uid.value),
    username: image.username,
    pinned: image.pinned,
  };
}

export function summaryDocument(image: ImageSummary): object {
  const created = Date.parse(image.createdAt);
  return {
    id: image.id,
    repoTags: image.repoTags,
    repoDigests: image.repoDigests,
    size: Number(image.size),
    createdAt: Number.isNaN(created) ? null : isoTime(BigInt(created) * 1_000_000n),
    pulledAt: isoTime(image.pulledAt),
    labels: mapDocument(image.labels),
  };
}

const LAYER_STATES: Readonly<Record<number, string>> = {
  [LayerState.LAYER_STATE_WAITING]: 'waiting',
  [LayerState.LAYER_STATE_DOWNLOADING]: 'downloading',
  [LayerState.LAYER_STATE_UNPACKING]: 'unpacking',
  [LayerState.LAYER_STATE_DONE]: 'done',
  [LayerState.LAYER_STATE_PRESENT]: 'present',
};

export function pullDocument({ reference, startedAt, layers }: Pull) {
  return {
    reference,
    startedAt: isoTime(startedAt),
    layers: layers.map((layer) => ({
      digest: layer.digest,
      size: Number(layer.size),
      downloadedBytes: Number(layer.downloadedBytes),
      unpackedBytes: Number(layer.unpackedBytes),
      state: LAYER_STATES[layer.state] ?? 'unknown',
    })),
  };
}

export function statsDocument(stats: ContainerStats, pod: PodSandbox | undefined): object {
  const { attributes, cpu, memory, writableLayer } = stats;
  return {
    id: attributes?.id ?? '',
    name: attributes?.metadata?.name ?? '',
    podId: pod?.id ?? '',
    podName: pod?.metadata?.name ?? '',
    timestamp: isoTime(cpu?.timestamp ?? memory?.timestamp ?? 0n),
    cpu: {
      usageCoreNanoSeconds: figure(cpu?.usageCoreNanoSeconds),
      usageNanoCores: figure(cpu?.usageNanoCores),
    },
    memory: {
      workingSetBytes: figure(memory?.workingSetBytes),
      usageBytes: figure(memory?.usageBytes),
      rssBytes: figure(memory?.rssBytes),
      availableBytes: figure(memory?.availableBytes),
    },
    writableLayer: {
      usedBytes: figure(writableLayer?.usedBytes),
      inodesUsed: figure(writableLayer?.inodesUsed),
    },
  };
}

/** null for a figure that the host does not tell. */
export function figure(value: { value: bigint } | undefined): number | null {
  return value === undefined ? null : Number(value.value);
}

/** fromEntries defines each key, so that one named __proto__ is harmless. */
export function mapDocument(map: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(map);
}

/** Any message as plain JSON values, for `inspect`: nothing is left out. */
export function plain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value instanceof Map) {
    return Object.fromEntries([...(value as Map<string, unknown>)].map(([k, v]) => [k, plain(v)]));
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => [key, plain(item)]),
    );
  }
  return value;
}

/** The verbose info of a status: the runtime's own JSON where it is JSON. */
export function infoDocument(info: ReadonlyMap<string, string>): Record<string, unknown> {
  return Object.fromEntries(
    [...info].map(([key, text]) => {
      try {
        return [key, JSON.parse(text) as unknown];
      } catch {
        return [key, text];
      }
    }),
  );
}
