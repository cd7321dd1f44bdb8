/** Stopping and removing pods and containers, in the order a kubelet does it. */
import {
  ContainerState,
  PodSandboxState,
  RemoveContainerRequest,
  RemovePodSandboxRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from '../cri/gen/index.js';
import type { Container, PodSandbox } from '../cri/gen/index.js';
import type { CriClient } from '../cri/client.js';
import type { Inventory } from './lookup.js';
import { ANNOTATION_GRACE_PERIOD } from './manifest/pod-configs.js';

/** As in Kubernetes, for a container that says nothing else. */
const DEFAULT_GRACE_SECONDS = 30;
/** What a call may take beyond the grace period. */
const MARGIN_MS = 120_000;

export interface EndingOptions {
  /** Overrides the pod's own grace period. */
  graceMs?: number | undefined;
  signal?: AbortSignal;
}

/** Every container gets its grace period at the same time; then the pod gives back its network. */
export async function stopPod(
  cri: CriClient,
  inventory: Inventory,
  pod: PodSandbox,
  options: EndingOptions,
): Promise<void> {
  await Promise.all(
    inventory.containers
      .filter(({ podSandboxId }) => podSandboxId === pod.id)
      .map((container) => stopContainer(cri, container, options)),
  );
  await cri.runtime.stopPodSandbox(
    StopPodSandboxRequest.create({ podSandboxId: pod.id }),
    callOptions(MARGIN_MS, options),
  );
}

export async function stopContainer(
  cri: CriClient,
  container: Container,
  options: EndingOptions,
): Promise<void> {
  if (container.state === ContainerState.CONTAINER_EXITED) return;
  const graceMs = options.graceMs ?? graceSeconds(container) * 1000;
  await cri.runtime.stopContainer(
    // CRI counts in whole seconds.
    StopContainerRequest.create({
      containerId: container.id,
      timeout: BigInt(Math.ceil(graceMs / 1000)),
    }),
    callOptions(graceMs + MARGIN_MS, options),
  );
}

/** Ends what still runs in it at once. */
export async function removePod(
  cri: CriClient,
  id: string,
  options: EndingOptions = {},
): Promise<void> {
  const call = callOptions(MARGIN_MS, options);
  await cri.runtime.stopPodSandbox(StopPodSandboxRequest.create({ podSandboxId: id }), call);
  await cri.runtime.removePodSandbox(RemovePodSandboxRequest.create({ podSandboxId: id }), call);
}

/** Ends it first when it still runs. */
export async function removeContainer(
  cri: CriClient,
  id: string,
  options: EndingOptions = {},
): Promise<void> {
  await cri.runtime.removeContainer(
    RemoveContainerRequest.create({ containerId: id }),
    callOptions(MARGIN_MS, options),
  );
}

export function isPodReady(pod: PodSandbox): boolean {
  return pod.state === PodSandboxState.SANDBOX_READY;
}

/** What the kubelet, or `pvecri run`, wrote on the container. */
function graceSeconds(container: Container): number {
  const text = container.annotations.get(ANNOTATION_GRACE_PERIOD) ?? '';
  return /^\d{1,6}$/.test(text) ? Number(text) : DEFAULT_GRACE_SECONDS;
}

function callOptions(
  timeoutMs: number,
  { signal }: EndingOptions,
): { timeoutMs: number; signal?: AbortSignal } {
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
}
