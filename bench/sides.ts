/** pvecri's agent and Debian's containerd, both with folders of their own, in one network of their own. */
import { readFileSync } from 'node:fs';
import { Client, credentials } from '@grpc/grpc-js';
import type { CriClient } from '../src/cri/client.js';
import { RuntimeServiceService } from '../src/cri/gen/index.js';
import { NamespaceMode } from '../src/cri/gen/namespace.js';
import { TestAgent } from '../test/support/agent.js';
import { containerRequest, IMAGE, podRequest } from '../test/support/cri-requests.js';
import { Containerd, PAUSE_COMMAND } from './containerd.js';
import type { BenchContext } from './figure.js';
import { commandLines, pssMegabytes } from './processes.js';

export const PAYLOAD = ['/bin/sleep', '100000'];

export interface PodParts {
  podSandboxId: string;
  containerId: string;
}

/** One runtime behind its CRI socket. */
export interface Side {
  name: 'pvecri' | 'containerd';
  client: CriClient;
  /** The daemon's. */
  pid: number;
  /** PSS of the daemon's one process before the first pod, in MB. */
  idleMegabytes: number;
  /** Processes that are there for pods but are no payload. */
  helpers(): number[];
  run(name: string, network?: NamespaceMode): Promise<string>;
  create(
    podSandboxId: string,
    name: string,
    podName?: string,
    network?: NamespaceMode,
  ): Promise<string>;
  /** An answer as it comes over the wire, so that the client's decoding is in no figure. */
  raw(method: 'listContainers' | 'listContainerStats'): Promise<Buffer>;
}

/** Ours first; the peer where it is installed. All that was made is gone when `work` has ended. */
export async function withSides<T>(
  { signal, say }: BenchContext,
  work: (sides: readonly Side[], agent: TestAgent) => Promise<T>,
  /** Where the folders of both are made, instead of /tmp. */
  parent?: string,
): Promise<T> {
  const agent = new TestAgent('', 'info', parent);
  const sides: Side[] = [];
  const closing: (() => unknown)[] = [];
  let containerd: Containerd | undefined;
  try {
    await agent.start();
    const image = { image: agent.busyboxReference(), annotations: new Map() };
    await agent.client.image.pullImage({
      image: { ...image, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
      auth: undefined,
      sandboxConfig: undefined,
    });
    sides.push(ofPvecri(agent, closing));
    signal.throwIfAborted();
    if (Containerd.isInstalled()) {
      containerd = new Containerd(agent);
      await containerd.start(IMAGE);
      sides.push(ofContainerd(agent, containerd, closing));
    }
    signal.throwIfAborted();
    return await work(sides, agent);
  } finally {
    for (const side of sides) await removeAllPods(side, say);
    for (const close of closing) close();
    await containerd?.close();
    const left = await agent.close();
    if (left.length > 0) say(`left behind: ${left.join(', ')}`);
  }
}

/** Both sides, each first as often as the other: what one leaves to the kernel may slow the next. */
export async function interleaved(
  { rounds, signal }: Pick<BenchContext, 'rounds' | 'signal'>,
  sides: readonly Side[],
  work: (side: Side, index: number, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const order = [...sides.entries()];
    for (const [index, side] of round % 2 === 0 ? order : order.toReversed()) {
      signal.throwIfAborted();
      await work(side, index, round);
    }
  }
}

export async function startPod(side: Side, name: string): Promise<PodParts> {
  const podSandboxId = await side.run(name);
  const containerId = await side.create(podSandboxId, name);
  await side.client.runtime.startContainer({ containerId });
  return { podSandboxId, containerId };
}

export async function removePod(
  { client: { runtime } }: Side,
  podSandboxId: string,
): Promise<void> {
  await runtime.stopPodSandbox({ podSandboxId });
  await runtime.removePodSandbox({ podSandboxId });
}

function ofPvecri(agent: TestAgent, closing: (() => unknown)[]): Side {
  return {
    name: 'pvecri',
    client: agent.client,
    pid: agent.pid,
    idleMegabytes: pssMegabytes([agent.pid]),
    // Shim and monitor carry the name of the shim, whose cgroups are below the agent's own.
    helpers: () =>
      [...commandLines()]
        .filter(([pid, line]) => line.startsWith('pvecri-shim') && isBelow(pid, agent.cgroup))
        .map(([pid]) => pid),
    ...calls(agent, agent.client, '', agent.socket, closing),
  };
}

function ofContainerd(agent: TestAgent, containerd: Containerd, closing: (() => unknown)[]): Side {
  const pause = PAUSE_COMMAND.join(' ');
  return {
    name: 'containerd',
    client: containerd.client,
    pid: containerd.pid,
    idleMegabytes: pssMegabytes([containerd.pid]),
    // The pause process is there for the pod, not for its container.
    helpers: () => [
      ...containerd.shims(),
      ...[...commandLines()]
        .filter(([pid, line]) => line.trim() === pause && isBelow(pid, containerd.cgroup))
        .map(([pid]) => pid),
    ],
    ...calls(agent, containerd.client, containerd.cgroup, containerd.socket, closing),
  };
}

function calls(
  agent: TestAgent,
  { runtime }: CriClient,
  cgroupParent: string,
  socket: string,
  closing: (() => unknown)[],
): Pick<Side, 'run' | 'create' | 'raw'> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': 1 << 26,
  });
  closing.push(() => {
    client.close();
  });
  const pod = (name: string, network: NamespaceMode = NamespaceMode.POD) => {
    const { linux } = podRequest(agent, name, {}, network).config ?? {};
    // A pod of the host's network has the host's name, and the kubelet sends none.
    const hostname = network === NamespaceMode.NODE ? '' : name;
    return podRequest(agent, name, { hostname, linux: { ...linux, cgroupParent } }, network);
  };
  return {
    async run(name, network) {
      return (await runtime.runPodSandbox(pod(name, network))).podSandboxId;
    },
    async create(podSandboxId, name, podName = name, network = NamespaceMode.POD) {
      const request = containerRequest(podSandboxId, name, PAYLOAD);
      const { config: sandboxConfig } = pod(podName, network);
      return (await runtime.createContainer({ ...request, sandboxConfig })).containerId;
    },
    raw: (method) =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          RuntimeServiceService[method].path,
          () => Buffer.alloc(0),
          (bytes) => bytes,
          {},
          (error, bytes) => {
            if (error !== null || bytes === undefined) reject(error ?? new Error('no answer'));
            else resolve(bytes);
          },
        );
      }),
  };
}

function isBelow(pid: number, cgroup: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(cgroup);
  } catch {
    return false; // it has ended
  }
}

/** Also what a run that failed in the middle has left standing. */
async function removeAllPods(side: Side, say: BenchContext['say']): Promise<void> {
  try {
    const { items } = await side.client.runtime.listPodSandbox({ filter: undefined });
    for (const { id } of items) await removePod(side, id);
  } catch (error) {
    say(`${side.name}: cannot remove the pods: ${String(error)}`);
  }
}
