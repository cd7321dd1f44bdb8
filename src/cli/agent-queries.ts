/** Questions to the agent that several commands ask. */
import {
  ContainerStatusRequest,
  ListContainersRequest,
  ListPodSandboxRequest,
  PodSandboxStatusRequest,
  StatusRequest,
} from '../cri/gen/index.js';
import type {
  ContainerFilter,
  ContainerStatus,
  ContainerStatusResponse,
  PodSandboxFilter,
  PodSandboxStatus,
} from '../cri/gen/index.js';
import { RuntimeError } from '../core/errors.js';
import type { CriClient } from '../cri/client.js';
import { infoDocument } from './documents.js';
import type { Inventory } from './lookup.js';

export async function listInventory(
  cri: CriClient,
  signal: AbortSignal,
  filters: { pods?: Partial<PodSandboxFilter>; containers?: Partial<ContainerFilter> } = {},
): Promise<Inventory> {
  const [pods, containers] = await Promise.all([
    cri.runtime.listPodSandbox(ListPodSandboxRequest.create({ filter: filters.pods ?? {} }), {
      signal,
    }),
    cri.runtime.listContainers(ListContainersRequest.create({ filter: filters.containers ?? {} }), {
      signal,
    }),
  ]);
  return {
    pods: pods.items.toSorted(newestFirst),
    containers: containers.containers.toSorted(newestFirst),
  };
}

function newestFirst(a: { createdAt: bigint }, b: { createdAt: bigint }): number {
  return a.createdAt === b.createdAt ? 0 : a.createdAt < b.createdAt ? 1 : -1;
}

/** Undefined when the pod was removed meanwhile. */
export async function podStatus(
  cri: CriClient,
  id: string,
  signal: AbortSignal,
): Promise<PodSandboxStatus | undefined> {
  const answer = await ifPresent(
    cri.runtime.podSandboxStatus(PodSandboxStatusRequest.create({ podSandboxId: id }), { signal }),
  );
  return answer?.status;
}

/** Undefined when the container was removed meanwhile. */
export async function containerStatus(
  cri: CriClient,
  id: string,
  signal: AbortSignal,
): Promise<ContainerStatus | undefined> {
  const answer: ContainerStatusResponse | undefined = await ifPresent(
    cri.runtime.containerStatus(ContainerStatusRequest.create({ containerId: id }), { signal }),
  );
  return answer?.status;
}

async function ifPresent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RuntimeError && error.kind === 'not-found') return undefined;
    throw error;
  }
}

/** The agent's own state folder, as its verbose Status tells it. */
export async function agentRoot(cri: CriClient, signal: AbortSignal): Promise<string> {
  const { info } = await cri.runtime.status(StatusRequest.create({ verbose: true }), { signal });
  const { config } = infoDocument(info);
  const root = typeof config === 'object' && config !== null && 'root' in config ? config.root : '';
  if (typeof root === 'string' && root.startsWith('/')) return root;
  throw new RuntimeError(
    'failed-precondition',
    'the runtime on this socket does not tell its root folder in Status: is it pvecri?',
  );
}
