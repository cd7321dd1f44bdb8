/** Pods and containers by what people type: an id, the start of one, or a name. */
import { ContainerState, PodSandboxState } from '../cri/gen/index.js';
import type { Container, PodSandbox } from '../cri/gen/index.js';
import { CommandFailure, usage } from './failure.js';
import { shortId } from './table.js';

/** What the agent lists; the newest first. */
export interface Inventory {
  pods: readonly PodSandbox[];
  containers: readonly Container[];
}

export type Found =
  | { kind: 'pod'; pod: PodSandbox }
  | { kind: 'container'; container: Container; pod: PodSandbox | undefined };

/** `name`, `namespace/name`, id or unique prefix of one. */
export function findPod(inventory: Inventory, reference: string): PodSandbox {
  const [pod, ...others] = matchPods(inventory, reference);
  if (pod === undefined) throw notFound('pod', reference, 'pvecri pods');
  if (others.length > 0) throw ambiguous(reference, [pod, ...others].map(describePod));
  return pod;
}

/** `name`, `pod/name`, `namespace/pod/name`, id or unique prefix of one. */
export function findContainer(
  inventory: Inventory,
  reference: string,
  { previous = false }: { previous?: boolean } = {},
): Container {
  const [container, ...others] = matchContainers(inventory, reference);
  if (container === undefined) throw notFound('container', reference, 'pvecri ps -a');
  if (others.length > 0) {
    throw ambiguous(
      reference,
      [container, ...others].map((one) => describeContainer(inventory, one)),
    );
  }
  return previous ? earlierAttempt(inventory, container, reference) : container;
}

export function findPodOrContainer(inventory: Inventory, reference: string): Found {
  const pods = matchPods(inventory, reference);
  const containers = matchContainers(inventory, reference);
  if (pods.length + containers.length > 1) {
    throw ambiguous(reference, [
      ...pods.map(describePod),
      ...containers.map((one) => describeContainer(inventory, one)),
    ]);
  }
  const [pod] = pods;
  if (pod !== undefined) return { kind: 'pod', pod };
  const [container] = containers;
  if (container !== undefined) {
    return { kind: 'container', container, pod: podOf(inventory, container) };
  }
  throw notFound('pod or container', reference, 'pvecri pods and pvecri ps -a');
}

export function podOf(inventory: Inventory, container: Container): PodSandbox | undefined {
  return inventory.pods.find(({ id }) => id === container.podSandboxId);
}

export function podName(pod: PodSandbox | undefined): string {
  return pod?.metadata?.name ?? '';
}

/** A whole id stands above names, names above the start of an id. */
function matchPods({ pods }: Inventory, reference: string): PodSandbox[] {
  const [first, second] = reference.split('/');
  const exact = pods.filter(({ id }) => id === reference);
  if (exact.length > 0) return exact;
  const named = pods.filter(({ metadata }) =>
    second === undefined
      ? metadata?.name === reference
      : metadata?.namespace === first && `${first}/${metadata?.name}` === reference,
  );
  if (named.length > 0) return preferred(named, isReady);
  return pods.filter(({ id }) => isPrefix(reference, id));
}

function matchContainers(inventory: Inventory, reference: string): Container[] {
  const { containers } = inventory;
  const exact = containers.filter(({ id }) => id === reference);
  if (exact.length > 0) return exact;
  const named = newestAttempts(
    containers.filter((container) => namesOf(inventory, container).includes(reference)),
  );
  if (named.length > 0) return preferred(named, isRunning);
  return containers.filter(({ id }) => isPrefix(reference, id));
}

function namesOf(inventory: Inventory, container: Container): string[] {
  const name = container.metadata?.name ?? '';
  const pod = podOf(inventory, container)?.metadata;
  if (pod === undefined) return [name];
  return [name, `${pod.name}/${name}`, `${pod.namespace}/${pod.name}/${name}`];
}

/** The one that lives, where the others that share the name have ended. */
function preferred<T>(list: T[], isAlive: (item: T) => boolean): T[] {
  const alive = list.filter(isAlive);
  return alive.length === 1 ? alive : list;
}

/** A container that was restarted is one to whoever names it. */
function newestAttempts(containers: readonly Container[]): Container[] {
  const newest = new Map<string, Container>();
  for (const container of containers) {
    const key = `${container.podSandboxId} ${container.metadata?.name ?? ''}`;
    const known = newest.get(key);
    if (known === undefined || attemptOf(known) < attemptOf(container)) newest.set(key, container);
  }
  return [...newest.values()];
}

function earlierAttempt(inventory: Inventory, container: Container, reference: string): Container {
  const earlier = newestAttempts(
    inventory.containers.filter(
      (other) =>
        other.podSandboxId === container.podSandboxId &&
        other.metadata?.name === container.metadata?.name &&
        attemptOf(other) < attemptOf(container),
    ),
  );
  if (earlier[0] !== undefined) return earlier[0];
  throw new CommandFailure(
    'not-found',
    `container ${JSON.stringify(reference)} has no previous attempt`,
  );
}

function attemptOf(container: Container): number {
  return container.metadata?.attempt ?? 0;
}

function isReady(pod: PodSandbox): boolean {
  return pod.state === PodSandboxState.SANDBOX_READY;
}

function isRunning(container: Container): boolean {
  return container.state === ContainerState.CONTAINER_RUNNING;
}

function isPrefix(text: string, id: string): boolean {
  return /^[0-9a-f]+$/.test(text) && id.startsWith(text);
}

function describePod(pod: PodSandbox): string {
  return `pod ${pod.metadata?.namespace ?? ''}/${podName(pod)} (${shortId(pod.id)})`;
}

function describeContainer(inventory: Inventory, container: Container): string {
  const pod = podName(podOf(inventory, container));
  return `container ${pod}/${container.metadata?.name ?? ''} (${shortId(container.id)})`;
}

function notFound(what: string, reference: string, command: string): CommandFailure {
  return new CommandFailure('not-found', `no ${what} ${JSON.stringify(reference)}; see ${command}`);
}

function ambiguous(reference: string, candidates: string[]): CommandFailure {
  const shown = candidates.slice(0, 5).join(', ');
  const more = candidates.length > 5 ? `, and ${candidates.length - 5} more` : '';
  return usage(
    `${JSON.stringify(reference)} stands for ${candidates.length} objects: ${shown}${more}; use an id or POD/CONTAINER`,
  );
}
