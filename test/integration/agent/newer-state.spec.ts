/** State files of an unknown newer version: refused by name, never destroyed, and nothing of theirs is taken for an orphan. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError } from '../../../src/core/errors.js';
import { PodSandboxState } from '../../../src/cri/gen/sandbox.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { buildImage, writeLayout, type BuiltImage } from '../../support/oci-image.js';
import { isAlive } from '../../support/processes.js';
import { file } from '../../support/tar.js';

describe('state of a newer agent', function () {
  this.timeout(120_000);
  let agent: TestAgent;

  beforeEach(async () => {
    agent = new TestAgent();
    await agent.start();
    await pull(agent.busyboxReference());
  });

  afterEach(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  const pull = (reference: string) =>
    agent.client.image.pullImage({
      image: {
        image: reference,
        annotations: new Map(),
        userSpecifiedImage: '',
        runtimeHandler: '',
        imageRef: '',
      },
      auth: undefined,
      sandboxConfig: undefined,
    });
  const runPod = async (name: string) => {
    const { runtime } = agent.client;
    const { podSandboxId: pod } = await runtime.runPodSandbox(podRequest(agent, name));
    const request = containerRequest(pod, name, shell('sleep 1000'));
    const { containerId: container } = await runtime.createContainer(request);
    await runtime.startContainer({ containerId: container });
    const { info } = await runtime.containerStatus({ containerId: container, verbose: true });
    const { pid } = JSON.parse(info.get('info') ?? '{}') as { pid: number };
    return { pod, container, pid };
  };
  const restart = async (between: () => void) => {
    await agent.stop('SIGKILL');
    between();
    agent.output = '';
    await agent.start();
  };
  const unreadable = async () => {
    const { info } = await agent.client.runtime.status({ verbose: true });
    return JSON.parse(info.get('unreadable') ?? '') as { path: string; reason: string }[];
  };
  /** What a newer agent might have written, told from ours by its version. */
  const fromTheFuture = (path: string): string => {
    const text = readFileSync(path, 'utf8').replace(
      '"version":1',
      '"version":2,"future":{"a":[1]}',
    );
    assert.match(text, /"version":2/);
    writeFileSync(path, text);
    return text;
  };

  it('serves the others, and leaves records, pods, containers and leases of the newer one alone', async () => {
    const [old, sandbox, container, network] = [
      await runPod('old'),
      await runPod('sandbox'),
      await runPod('container'),
      await runPod('network'),
    ];
    const paths = [
      join(agent.root, 'sandboxes', sandbox.pod, 'sandbox.json'),
      join(agent.root, 'containers', container.container, 'container.json'),
      join(agent.root, 'networks', `${network.pod}.json`),
    ];
    const before = paths.map((path) => readFileSync(path, 'utf8'));
    const leftBefore = agent.left().sort();
    let texts: string[] = [];
    await restart(() => {
      texts = paths.map(fromTheFuture);
    });
    for (let life = 0; life < 2; life++) {
      assert.deepEqual(
        paths.map((path) => readFileSync(path, 'utf8')),
        texts,
      );
      const told = await unreadable();
      assert.deepEqual(told.map(({ path }) => path).sort(), [...paths].sort());
      for (const { reason } of told) assert.match(reason, /version 2.*newer agent/);
      for (const path of paths) assert.ok(agent.output.includes(path), `not in the log: ${path}`);
      for (const { pid } of [old, sandbox, container, network]) assert.ok(isAlive(pid));
      assert.deepEqual(agent.left().sort(), leftBefore);
      await restart(() => undefined);
    }
    const { runtime } = agent.client;
    const { items } = await runtime.listPodSandbox({ filter: undefined });
    assert.deepEqual(
      items.map((each) => [each.metadata?.name, each.state]).sort(),
      ['container', 'network', 'old'].map((name) => [name, PodSandboxState.SANDBOX_READY]),
    );
    const exec = { containerId: old.container, cmd: ['echo', 'hi'], timeout: 5n };
    assert.equal((await runtime.execSync(exec)).stdout.toString(), 'hi\n');
    const fresh = await runPod('fresh');
    await runtime.removePodSandbox({ podSandboxId: fresh.pod });
    // Whose network it cannot read it cannot stop, and says so.
    await assert.rejects(runtime.stopPodSandbox({ podSandboxId: network.pod }), (error) => {
      assert.ok(error instanceof RuntimeError && error.kind === 'failed-precondition');
      return error.message.includes(`${network.pod}.json has version 2`);
    });
    // The newer agent is back: all is there.
    await restart(() => {
      paths.forEach((path, i) => {
        writeFileSync(path, before[i]!);
      });
    });
    assert.deepEqual(await unreadable(), []);
    for (const { pid } of [old, sandbox, container]) assert.ok(isAlive(pid));
    for (const { pod } of [old, sandbox, container, network])
      await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('keeps images and layers of the newer one, and uses neither', async () => {
    const layout = join(agent.folder, 'two');
    const build = (text: string) => buildImage({ layers: [[file(text, text)]] });
    const [a, b] = [build('a'), build('b')];
    const images: Record<string, BuiltImage> = { 'example.org/a:1': a, 'example.org/b:1': b };
    writeLayout(layout, images);
    for (const name of Object.keys(images)) await pull(`oci:${layout}:${name}`);
    const store = join(agent.root, 'images');
    const hex = (digest: string): string => digest.replace('sha256:', '');
    const recordOf = ({ id }: BuiltImage) => join(store, 'records', `${hex(id)}.json`);
    const layer = join(store, 'layers', hex(b.diffIds[0]!), 'layer.json');
    const before = [recordOf(a), layer].map((path) => readFileSync(path, 'utf8'));
    let texts: string[] = [];
    const entries = () =>
      ['records', 'layers', 'blobs/sha256'].flatMap((name) =>
        readdirSync(join(store, name)).sort(),
      );
    const all = entries();
    await restart(() => {
      texts = [recordOf(a), layer].map(fromTheFuture);
    });
    for (let life = 0; life < 2; life++) {
      assert.deepEqual(
        [recordOf(a), layer].map((path) => readFileSync(path, 'utf8')),
        texts,
      );
      assert.deepEqual(entries(), all);
      assert.ok(existsSync(recordOf(b)));
      const told = await unreadable();
      assert.deepEqual(told.map(({ path }) => path).sort(), [recordOf(a), recordOf(b)].sort());
      for (const { reason } of told) assert.match(reason, /newer/);
      await restart(() => undefined);
    }
    const { images: listed } = await agent.client.image.listImages({ filter: undefined });
    assert.deepEqual(
      listed.flatMap(({ repoTags }) => repoTags),
      ['example.org/busybox:1'],
    );
    for (const name of Object.keys(images))
      await assert.rejects(pull(`oci:${layout}:${name}`), {
        kind: 'failed-precondition',
        message: /newer/,
      });
    assert.deepEqual(entries(), all);
    await restart(() => {
      [recordOf(a), layer].forEach((path, i) => {
        writeFileSync(path, before[i]!);
      });
    });
    const again = await agent.client.image.listImages({ filter: undefined });
    assert.equal(again.images.length, 3);
  });
});
