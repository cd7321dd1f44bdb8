/** Short words for what tests ask of an agent: pull, run, create, start, wait, exec. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState, type ContainerStatus } from '../../src/cri/gen/container.js';
import type { PodSandboxStatus } from '../../src/cri/gen/sandbox.js';
import type { TestAgent } from './agent.js';
import { busyboxImage } from './busybox-image.js';
import { containerRequest, IMAGE, podRequest, shell } from './cri-requests.js';
import { writeLayout } from './oci-image.js';
import type { TarEntry } from './tar.js';

type PodChange = NonNullable<Parameters<typeof podRequest>[2]>;
type ContainerChange = NonNullable<Parameters<typeof containerRequest>[3]>;

const WAIT_MS = 30_000;

export class PodClient {
  readonly agent: TestAgent;
  #names = 0;

  constructor(agent: TestAgent) {
    this.agent = agent;
  }

  /** `config` is the image's. */
  async pull(config: Record<string, unknown> = {}): Promise<void> {
    await this.#pull(this.agent.busyboxReference(config), IMAGE);
  }

  /** Busybox under another name, with more files. */
  async pullWith(name: string, more: TarEntry[], config: Record<string, unknown> = {}) {
    const layout = join(this.agent.folder, `layout-${++this.#names}`);
    writeLayout(layout, { [name]: busyboxImage(config, more) });
    await this.#pull(`oci:${layout}:${name}`, name);
  }

  async #pull(reference: string, name: string): Promise<void> {
    await this.agent.client.image.pullImage({
      image: {
        image: reference,
        annotations: new Map(),
        userSpecifiedImage: '',
        runtimeHandler: '',
        imageRef: name,
      },
      auth: undefined,
      sandboxConfig: undefined,
    });
  }

  async run(name: string, ...rest: [PodChange?, Parameters<typeof podRequest>[3]?]) {
    const request = podRequest(this.agent, name, ...rest);
    return (await this.agent.client.runtime.runPodSandbox(request)).podSandboxId;
  }

  /** A container of a name of its own, not started. */
  async create(pod: string, script: string, change: ContainerChange = {}): Promise<string> {
    const name = `c${++this.#names}`;
    const request = containerRequest(pod, name, shell(script), change);
    return (await this.agent.client.runtime.createContainer(request)).containerId;
  }

  async start(containerId: string): Promise<void> {
    await this.agent.client.runtime.startContainer({ containerId });
  }

  async begin(...what: Parameters<PodClient['create']>): Promise<string> {
    const id = await this.create(...what);
    await this.start(id);
    return id;
  }

  async status(containerId: string): Promise<ContainerStatus> {
    const response = await this.agent.client.runtime.containerStatus({
      containerId,
      verbose: false,
    });
    assert.ok(response.status);
    return response.status;
  }

  async podStatus(podSandboxId: string): Promise<PodSandboxStatus> {
    const response = await this.agent.client.runtime.podSandboxStatus({
      podSandboxId,
      verbose: false,
    });
    assert.ok(response.status);
    return response.status;
  }

  async ended(containerId: string): Promise<ContainerStatus> {
    for (const deadline = Date.now() + WAIT_MS; ;) {
      const now = await this.status(containerId);
      if (now.state === ContainerState.CONTAINER_EXITED) return now;
      assert.ok(Date.now() < deadline, `container ${containerId} did not end`);
      await sleep(20);
    }
  }

  /** Runs a script to its end in a container of its own and answers its log: both streams. */
  async output(...what: Parameters<PodClient['create']>): Promise<string> {
    const id = await this.begin(...what);
    const { metadata } = await this.ended(id);
    await this.remove(id);
    return this.agent
      .readLog(`${metadata?.name}.log`)
      .split('\n')
      .map((line) => line.split(' ').slice(3).join(' '))
      .join('\n')
      .trimEnd();
  }

  async exec(containerId: string, script: string): Promise<string> {
    const { stdout, stderr } = await this.agent.client.runtime.execSync({
      containerId,
      cmd: shell(script),
      timeout: 20n,
    });
    return Buffer.concat([stdout, stderr]).toString('latin1').trimEnd();
  }

  async remove(containerId: string): Promise<void> {
    await this.agent.client.runtime.removeContainer({ containerId });
  }

  async stopPod(podSandboxId: string): Promise<void> {
    await this.agent.client.runtime.stopPodSandbox({ podSandboxId });
  }

  async removePod(podSandboxId: string): Promise<void> {
    await this.agent.client.runtime.removePodSandbox({ podSandboxId });
  }
}
