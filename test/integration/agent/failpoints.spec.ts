/**
 * kill -9 of the agent at every point of every mutating verb: after each restart nothing is lost, the
 * repeated verb does what it should, and after removal nothing is left.
 *
 * A sample of the points is tried, another one each time; the seed is in the test's name.
 * PVECRI_FAILPOINTS=all tries all, PVECRI_FAILPOINTS=N samples N of each verb,
 * PVECRI_FAILPOINT_SEED=SEED repeats a sample, and PVECRI_FAILPOINT=VERB:POINT tries one.
 */
import assert from 'node:assert/strict';
import { readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { PodSandboxState } from '../../../src/cri/gen/sandbox.js';
import { CGROUP_ROOT } from '../../support/agent.js';
import { containerRequest, IMAGE, podRequest, shell } from '../../support/cri-requests.js';
import { startRegistryBeside, type DockerRegistry } from '../../support/docker-registry.js';
import { FailpointAgent } from '../../support/failpoint-agent.js';
import { unreferencedImageFiles } from '../../support/image-files.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { until } from '../../support/processes.js';
import { file, folder } from '../../support/tar.js';

const COUNT = process.env['PVECRI_FAILPOINTS'] ?? '10';
const ONE = process.env['PVECRI_FAILPOINT']?.split(':');
const SEED = Number(process.env['PVECRI_FAILPOINT_SEED'] ?? Date.now() % 1_000_000);
/** Agents at work side by side: each start of one is mostly Node.js loading. */
const LANES = 3;

const PULLED = 'example.org/pulled:1';
const counting = (pause: string): string =>
  `n=0; while :; do echo $n; n=$((n+1)); sleep ${pause}; done`;
/** Of the bystander alone, to tell its processes from others. */
const PAUSE = '0.123';

const folders = ['proc', 'sys', 'dev', 'etc', 'tmp'].map((name) => folder(name));
const ONE_LAYER = [...folders, file('one', 'one')];
const config = { Cmd: ['/one'] };
const FIRST = buildImage({ layers: [ONE_LAYER, [file('two', 'two')]], config });
/** Shares a layer with it. */
const SECOND = buildImage({ layers: [ONE_LAYER, [file('three', 'three')]], config });

/** One agent, a pod that must not notice anything, and what the scenarios do with CRI. */
class Lane {
  readonly agent = new FailpointAgent();
  bystander = { pod: '', container: '', pid: 0 };
  baseline: string[] = [];
  readonly #layout = join(this.agent.folder, 'pulled');
  pulledReference = `oci:${this.#layout}:${PULLED}`;
  #registry: DockerRegistry | undefined;

  async start(): Promise<void> {
    await this.agent.start();
    await this.pull(this.agent.busyboxReference());
    const pod = await this.run('bystander');
    const container = await this.create(pod, 'counter', counting(PAUSE));
    await this.agent.client.runtime.startContainer({ containerId: container });
    this.bystander = { pod, container, pid: (await this.status(container)).pid };
    this.offer(FIRST);
    this.baseline = this.left();
  }

  /** What the tag of the layout names from now on. */
  offer(image: BuiltImage): void {
    writeLayout(this.#layout, { [PULLED]: image });
  }

  /** The same image in a registry that the agent can reach. */
  async registryReference(): Promise<string> {
    const { netns, folder } = this.agent;
    this.#registry ??= await startRegistryBeside(netns, folder, { 'pulled:1': FIRST });
    return `${this.#registry.host}/pulled:1`;
  }

  async close(): Promise<void> {
    await this.#registry?.stop();
    await this.agent.client.runtime.removePodSandbox({ podSandboxId: this.bystander.pod });
    const lines = this.agent.readLog('counter.log').trimEnd().split('\n');
    const left = await this.agent.close();
    assert.deepEqual(left, []);
    // Through all the deaths of the agent.
    assert.deepEqual(
      lines.map((line) => line.replace(/^\S+ stdout F /, '')),
      lines.map((_, n) => String(n)),
    );
  }

  /** After a failure: all away, whatever it is. */
  async abandon(): Promise<void> {
    await this.#registry?.stop();
    await this.agent.restart();
    const { runtime } = this.agent.client;
    const { items } = await runtime.listPodSandbox({ filter: undefined });
    for (const { id } of items) await runtime.removePodSandbox({ podSandboxId: id });
    await this.agent.close();
  }

  left(): string[] {
    const images = ['layers', 'blobs/sha256', 'records'].flatMap((name) =>
      readdirSync(join(this.agent.root, 'images', name)).map((each) => `images/${name}/${each}`),
    );
    const cgroups = readdirSync(join(CGROUP_ROOT, this.agent.cgroup), { recursive: true })
      .map(String)

      .filter((path) => /[0-9a-f]{64}/.test(path) && !basename(path).includes('.'))
      .filter((path) => statSync(join(CGROUP_ROOT, this.agent.cgroup, path)).isDirectory());
    // The children of the bystander's shell come and go.
    const left = this.agent.left().filter((each) => !each.includes(PAUSE));
    return [...left, ...images, ...cgroups].sort();
  }

  image(name: string) {
    return {
      image: name,
      annotations: new Map<string, string>(),
      userSpecifiedImage: '',
      runtimeHandler: '',
      imageRef: '',
    };
  }

  async pull(reference: string): Promise<string> {
    const image = this.image(reference);
    const request = { image, auth: undefined, sandboxConfig: undefined };
    return (await this.agent.client.image.pullImage(request)).imageRef;
  }

  async imageId(name: string): Promise<string | undefined> {
    const { image } = this.agent.client;
    return (await image.imageStatus({ image: this.image(name), verbose: false })).image?.id;
  }

  removeImage(name: string) {
    return this.agent.client.image.removeImage({ image: this.image(name) });
  }

  async run(name: string): Promise<string> {
    const namespaceOptions = { network: NamespaceMode.POD, pid: NamespaceMode.POD };
    const request = podRequest(this.agent, name, {
      linux: { securityContext: { namespaceOptions } },
    });
    return (await this.agent.client.runtime.runPodSandbox(request)).podSandboxId;
  }

  async create(pod: string, name: string, script: string): Promise<string> {
    const request = containerRequest(pod, name, shell(script));
    return (await this.agent.client.runtime.createContainer(request)).containerId;
  }

  async startNew(pod: string, name: string, script: string): Promise<string> {
    const containerId = await this.create(pod, name, script);
    await this.agent.client.runtime.startContainer({ containerId });
    await until(() => this.agent.readLog(`${name}.log`).length > 0);
    return containerId;
  }

  async status(containerId: string) {
    const { runtime } = this.agent.client;
    const { status, info } = await runtime.containerStatus({ containerId, verbose: true });
    assert.ok(status);
    const { pid } = JSON.parse(info.get('info') ?? '{}') as { pid: number };
    return { ...status, pid };
  }

  async podState(podSandboxId: string): Promise<PodSandboxState | undefined> {
    const { runtime } = this.agent.client;
    return (await runtime.podSandboxStatus({ podSandboxId, verbose: false })).status?.state;
  }

  /** The node as it was before the scenario, and the bystander as it has been all along. */
  async checkAndClear(): Promise<void> {
    const { runtime, image } = this.agent.client;
    assert.doesNotMatch(this.agent.output, /Z (ERROR|FATAL) /);
    const { containers } = await runtime.listContainers({ filter: undefined });
    const { items } = await runtime.listPodSandbox({ filter: undefined });
    const pods = items.map((pod) => pod.id);
    for (const { podSandboxId } of containers) assert.ok(pods.includes(podSandboxId));
    const names = items.map((pod) => pod.metadata?.name);
    assert.equal(new Set(names).size, names.length, `twins: ${names.join(', ')}`);
    for (const podSandboxId of pods)
      if (podSandboxId !== this.bystander.pod) await runtime.removePodSandbox({ podSandboxId });
    const { images } = await image.listImages({ filter: undefined });
    for (const { id, repoTags } of images)
      if (!repoTags.includes(IMAGE)) await this.removeImage(id);
    for (const name of ['c.log', 'c.log.1']) rmSync(join(this.agent.logs, name), { force: true });
    for (let i = 0; this.left().join('\n') !== this.baseline.join('\n'); i++) {
      if (i === 100) assert.deepEqual(this.left(), this.baseline);
      await sleep(20);
    }
    const { state, pid } = await this.status(this.bystander.container);
    assert.deepEqual([state, pid], [ContainerState.CONTAINER_RUNNING, this.bystander.pid]);
  }
}

/** What is there before the call that is cut short, the call, and what its repeat must come to. */
interface Scenario {
  prepare(lane: Lane): Promise<string[]>;
  call(lane: Lane, ids: string[]): Promise<unknown>;
  /** What holds right after the restart. */
  check?(lane: Lane, ids: string[]): Promise<void>;
  repeat(lane: Lane, ids: string[]): Promise<void>;
}

const TRAPPING = 'trap "echo got it; exit 7" TERM; echo up; while :; do sleep 0.02; done';
const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState;
const never = 0n;

const podWith = (script: string | null) => async (lane: Lane) => {
  const pod = await lane.run('pod');
  return script === null ? [pod] : [pod, await lane.startNew(pod, 'c', script)];
};

const scenarios: Record<string, Scenario> = {
  RunPodSandbox: {
    prepare: () => Promise.resolve([]),
    call: (lane) => lane.run('pod'),
    repeat: async (lane) => {
      const pod = await lane.run('pod');
      assert.equal(await lane.podState(pod), PodSandboxState.SANDBOX_READY);
      await lane.startNew(pod, 'c', 'echo up; sleep 1000');
    },
  },
  CreateContainer: {
    prepare: podWith(null),
    call: (lane, [pod = '']) => lane.create(pod, 'c', 'echo up; sleep 1000'),
    repeat: async (lane, [pod = '']) => {
      const containerId = await lane.create(pod, 'c', 'echo up; sleep 1000');
      assert.equal((await lane.status(containerId)).state, CONTAINER_CREATED);
      await lane.agent.client.runtime.startContainer({ containerId });
      await until(() => lane.agent.readLog('c.log').includes('up'));
    },
  },
  StartContainer: {
    prepare: async (lane) => {
      const pod = await lane.run('pod');
      return [pod, await lane.create(pod, 'c', 'echo up; sleep 1000')];
    },
    call: (lane, [, containerId = '']) => lane.agent.client.runtime.startContainer({ containerId }),
    repeat: async (lane, [, containerId = '']) => {
      await lane.agent.client.runtime.startContainer({ containerId });
      const { state, startedAt } = await lane.status(containerId);
      assert.equal(state, CONTAINER_RUNNING);
      assert.ok(startedAt > never);
      await until(() => lane.agent.readLog('c.log').includes('up'));
      assert.equal(lane.agent.readLog('c.log').match(/up/g)?.length, 1);
    },
  },
  StopContainer: {
    prepare: podWith(TRAPPING),
    call: (lane, [, containerId = '']) =>
      lane.agent.client.runtime.stopContainer({ containerId, timeout: 20n }),
    repeat: async (lane, [, containerId = '']) => {
      await lane.agent.client.runtime.stopContainer({ containerId, timeout: 20n });
      const { state, exitCode, reason } = await lane.status(containerId);
      assert.deepEqual([state, exitCode, reason], [CONTAINER_EXITED, 7, 'Error']);
      assert.match(lane.agent.readLog('c.log'), /got it/);
    },
  },
  'StopContainer at once': {
    prepare: podWith('trap "" TERM; echo up; while :; do sleep 0.05; done'),
    call: (lane, [, containerId = '']) =>
      lane.agent.client.runtime.stopContainer({ containerId, timeout: 0n }),
    repeat: async (lane, [, containerId = '']) => {
      await lane.agent.client.runtime.stopContainer({ containerId, timeout: 0n });
      const { state, exitCode } = await lane.status(containerId);
      assert.deepEqual([state, exitCode], [CONTAINER_EXITED, 137]);
    },
  },
  RemoveContainer: {
    prepare: podWith('echo up; sleep 1000'),
    call: (lane, [, containerId = '']) =>
      lane.agent.client.runtime.removeContainer({ containerId }),
    repeat: async (lane, [, containerId = '']) => {
      await lane.agent.client.runtime.removeContainer({ containerId });
      await assert.rejects(lane.status(containerId), { kind: 'not-found' });
    },
  },
  ReopenContainerLog: {
    prepare: async (lane) => {
      const ids = await podWith(counting('0.05'))(lane);
      renameSync(join(lane.agent.logs, 'c.log'), join(lane.agent.logs, 'c.log.1'));
      return ids;
    },
    call: (lane, [, containerId = '']) =>
      lane.agent.client.runtime.reopenContainerLog({ containerId }),
    repeat: async (lane, [, containerId = '']) => {
      await lane.agent.client.runtime.reopenContainerLog({ containerId });
      await until(() => lane.agent.readLog('c.log').includes('\n'));
      await lane.agent.client.runtime.stopContainer({ containerId, timeout: 0n });
      const text = `${lane.agent.readLog('c.log.1')}${lane.agent.readLog('c.log')}`;
      const lines = text.trimEnd().split('\n');
      assert.deepEqual(
        lines.map((line) => line.replace(/^\S+ stdout F /, '')),
        lines.map((_, n) => String(n)),
      );
    },
  },
  StopPodSandbox: {
    prepare: podWith('echo up; sleep 1000'),
    call: (lane, [podSandboxId = '']) => lane.agent.client.runtime.stopPodSandbox({ podSandboxId }),
    repeat: async (lane, [podSandboxId = '', container = '']) => {
      await lane.agent.client.runtime.stopPodSandbox({ podSandboxId });
      assert.equal(await lane.podState(podSandboxId), PodSandboxState.SANDBOX_NOTREADY);
      const { state, exitCode } = await lane.status(container);
      assert.deepEqual([state, exitCode], [CONTAINER_EXITED, 137]);
    },
  },
  RemovePodSandbox: {
    prepare: podWith('echo up; sleep 1000'),
    call: (lane, [podSandboxId = '']) =>
      lane.agent.client.runtime.removePodSandbox({ podSandboxId }),
    repeat: async (lane, [podSandboxId = '']) => {
      await lane.agent.client.runtime.removePodSandbox({ podSandboxId });
      await assert.rejects(lane.podState(podSandboxId), { kind: 'not-found' });
    },
  },
  PullImage: {
    prepare: () => Promise.resolve([]),
    call: (lane) => lane.pull(lane.pulledReference),
    check: checkImages,
    repeat: async (lane) => {
      assert.equal(await lane.pull(lane.pulledReference), FIRST.id);
      assert.equal(await lane.imageId(PULLED), FIRST.id);
      await checkImages(lane);
    },
  },
  'PullImage from a registry': {
    prepare: async (lane) => [await lane.registryReference()],
    call: (lane, [reference = '']) => lane.pull(reference),
    check: checkImages,
    repeat: async (lane, [reference = '']) => {
      assert.equal(await lane.pull(reference), FIRST.id);
      assert.equal(await lane.imageId(reference), FIRST.id);
      await checkImages(lane);
    },
  },
  'PullImage that moves a tag': {
    prepare: async (lane) => {
      await lane.pull(lane.pulledReference);
      lane.offer(SECOND);
      return [];
    },
    call: (lane) => lane.pull(lane.pulledReference),
    check: async (lane) => {
      const id = await lane.imageId(PULLED);
      assert.ok(id === FIRST.id || id === SECOND.id, `the tag names ${id}`);
      assert.equal(await lane.imageId(FIRST.id), FIRST.id);
      await checkImages(lane);
    },
    repeat: async (lane) => {
      assert.equal(await lane.pull(lane.pulledReference), SECOND.id);
      assert.equal(await lane.imageId(PULLED), SECOND.id);
      await checkImages(lane);
      lane.offer(FIRST);
    },
  },
  RemoveImage: {
    prepare: async (lane) => [await lane.pull(lane.pulledReference)],
    call: (lane) => lane.removeImage(PULLED),
    check: checkImages,
    repeat: async (lane) => {
      await lane.removeImage(PULLED);
      const { images } = await lane.agent.client.image.listImages({ filter: undefined });
      assert.equal(images.length, 1);
      assert.deepEqual(lane.left(), lane.baseline);
      await lane.pull(lane.pulledReference);
      await checkImages(lane);
    },
  },
};

/** Each image that is listed is whole: a container stands on it. Nothing lies there that belongs to none. */
async function checkImages(lane: Lane): Promise<void> {
  const { runtime, image } = lane.agent.client;
  const { images } = await image.listImages({ filter: undefined });
  for (const { id, repoTags } of images) {
    if (repoTags.includes(IMAGE)) continue;
    const change = { image: { image: id } };
    const request = containerRequest(lane.bystander.pod, 'pulled', ['/one'], change);
    const { containerId } = await runtime.createContainer(request);
    await runtime.removeContainer({ containerId });
  }
  assert.deepEqual(unreferencedImageFiles(lane.agent.root), []);
}

describe(`kill -9 at failpoints (seed ${SEED})`, function () {
  this.timeout(1_800_000);
  const chosen = Object.entries(scenarios).filter(([verb]) => !ONE || verb === ONE[0]);
  const outcomes = new Map<string, Promise<void>>();
  const queues: Promise<void>[] = [];

  before(() => {
    for (let first = 0; first < Math.min(LANES, chosen.length); first++) {
      const mine = chosen.filter((_, i) => i % LANES === first);
      const promises = mine.map(([verb]) => {
        const { promise, settle } = deferred();
        outcomes.set(verb, promise);
        return settle;
      });
      queues.push(workThrough(mine, promises));
    }
  });

  for (const [verb] of chosen) {
    it(verb, () => outcomes.get(verb));
  }

  it('leaves nothing, and the bystander has not missed a line', async () => {
    await Promise.all(queues);
  });
});

/** The verbs of one queue, on one agent; a failure costs that, and the next verb gets a new one. */
async function workThrough(
  verbs: [string, Scenario][],
  settle: ((result: Promise<void>) => void)[],
): Promise<void> {
  let lane: Lane | undefined;
  for (const [i, [verb, scenario]] of verbs.entries()) {
    const current: Lane = lane ?? new Lane();
    const result = (lane ? Promise.resolve() : current.start()).then(() =>
      tryVerb(current, verb, scenario),
    );
    settle[i]?.(result);
    lane = await result.then(
      () => current,
      () => current.abandon().then(() => undefined),
    );
  }
  await lane?.close();
}

function deferred(): { promise: Promise<void>; settle: (result: Promise<void>) => void } {
  let settle: (result: Promise<void>) => void = () => undefined;
  const promise = new Promise<void>((resolve) => (settle = resolve));
  promise.catch(() => undefined); // Its test tells.
  return { promise, settle };
}

async function tryVerb(lane: Lane, verb: string, scenario: Scenario): Promise<void> {
  const ids = await scenario.prepare(lane);
  const points = await lane.agent.points(() => scenario.call(lane, ids));
  await scenario.repeat(lane, ids);
  await lane.checkAndClear();
  assert.ok(points.length > 0, 'passes no point');
  for (const point of choose(points.length, verb)) {
    let name: string | undefined;
    try {
      const made = await scenario.prepare(lane);
      name = await lane.agent.killAt(point, () => scenario.call(lane, made));
      await scenario.check?.(lane, made);
      await scenario.repeat(lane, made);
      await lane.checkAndClear();
    } catch (error) {
      const where = `${verb}:${point} of ${points.length}, after ${name ?? points[point - 1] ?? ''}`;
      throw new Error(`${where}: ${String(error)}\n${lane.agent.output}`, { cause: error });
    }
  }
}

function choose(count: number, verb: string): number[] {
  if (ONE?.[1] !== undefined) return [Number(ONE[1])];
  const points = Array.from({ length: count }, (_, i) => i + 1);
  if (COUNT === 'all' || ONE) return points;
  const random = mulberry32(SEED + verb.length);
  for (let i = points.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [points[i], points[j]] = [points[j]!, points[i]!];
  }
  return points.slice(0, Number(COUNT));
}

/** A small generator of pseudo-random numbers with a seed. */
function mulberry32(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
