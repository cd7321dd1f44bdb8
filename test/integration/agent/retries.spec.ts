/** Calls that are repeated, cut off or made side by side: one object, one result, no error that a kubelet would stumble over. */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RuntimeError } from '../../../src/core/errors.js';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { until } from '../../support/processes.js';

describe('repeated calls', function () {
  this.timeout(120_000);
  let agent: TestAgent;

  beforeEach(async () => {
    agent = new TestAgent();
    await agent.start();
    const image = {
      image: agent.busyboxReference(),
      annotations: new Map<string, string>(),
      userSpecifiedImage: '',
      runtimeHandler: '',
      imageRef: '',
    };
    await agent.client.image.pullImage({ image, auth: undefined, sandboxConfig: undefined });
  });

  afterEach(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  /** A network whose ADD takes as long as the file `held` is there. */
  const slowNetwork = () => {
    const held = join(agent.folder, 'held');
    writeFileSync(held, '');
    writeFileSync(
      join(agent.binDir, 'slow'),
      `#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\ntouch '${held}.begun'\nwhile [ -e '${held}' ]; do sleep 0.02; done\n` +
        `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.99.0.77/24"}]}'\n`,
      { mode: 0o755 },
    );
    const conflist = { cniVersion: '1.0.0', name: 'slow', plugins: [{ type: 'slow' }] };
    writeFileSync(join(agent.confDir, '00-slow.conflist'), JSON.stringify(conflist));
    return { held, begun: () => existsSync(`${held}.begun`) };
  };
  const podIds = async () => {
    const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
    return items.map(({ id }) => id);
  };
  const hostPod = async (name = 'pod') =>
    (await agent.client.runtime.runPodSandbox(podRequest(agent, name, {}, NamespaceMode.NODE)))
      .podSandboxId;
  const started = async (pod: string, name: string, script: string) => {
    const request = containerRequest(pod, name, shell(script));
    const { containerId } = await agent.client.runtime.createContainer(request);
    await agent.client.runtime.startContainer({ containerId });
    await until(() => agent.readLog(`${name}.log`).length > 0);
    return containerId;
  };
  const status = async (containerId: string) => {
    const answer = await agent.client.runtime.containerStatus({ containerId, verbose: false });
    assert.ok(answer.status);
    return answer.status;
  };

  it('RunPodSandbox goes on without its caller, and the repeat gets its pod', async () => {
    const { runtime } = agent.client;
    const { held, begun } = slowNetwork();
    const request = podRequest(agent, 'pod');
    await assert.rejects(runtime.runPodSandbox(request, { timeoutMs: 700 }), {
      kind: 'deadline-exceeded',
    });
    await until(begun);
    const other = podRequest(agent, 'pod', { hostname: 'other' });
    await assert.rejects(runtime.runPodSandbox(other), (error) => {
      assert.ok(error instanceof RuntimeError && error.kind === 'aborted', String(error));
      return /default\/pod.*different configuration: try again/.test(error.message);
    });
    const repeats = [1, 2, 3].map(() => runtime.runPodSandbox(request));
    rmSync(held);
    const ids = (await Promise.all(repeats)).map(({ podSandboxId }) => podSandboxId);
    assert.equal(new Set(ids).size, 1);
    // Labels in another order are the same labels: Go's encoder gives maps no order.
    const labels = new Map([
      ['z', '1'],
      ['app', 'pod'],
    ]);
    await assert.rejects(runtime.runPodSandbox(podRequest(agent, 'pod', { labels })), {
      kind: 'already-exists',
    });
    assert.deepEqual(await podIds(), [ids[0]]);
    await agent.stop('SIGKILL');
    await agent.start();
    assert.equal((await agent.client.runtime.runPodSandbox(request)).podSandboxId, ids[0]);
    await agent.client.runtime.removePodSandbox({ podSandboxId: ids[0]! });
  });

  it('RunPodSandbox after a kill makes a new pod, also of another configuration', async () => {
    const { held, begun } = slowNetwork();
    void agent.client.runtime.runPodSandbox(podRequest(agent, 'pod')).catch(() => undefined);
    await until(begun);
    await agent.stop('SIGKILL');
    // The plugin outlives the agent; its end is waited for before anything is given back.
    setTimeout(() => {
      rmSync(held);
    }, 500);
    await agent.start();
    assert.deepEqual(await podIds(), []);
    const request = podRequest(agent, 'pod', { hostname: 'other' });
    const { podSandboxId } = await agent.client.runtime.runPodSandbox(request);
    assert.deepEqual(await podIds(), [podSandboxId]);
    await agent.client.runtime.removePodSandbox({ podSandboxId });
  });

  it('CreateContainer goes on without its caller, and the repeat gets its container', async () => {
    const { runtime } = agent.client;
    const pod = await hostPod();
    const request = containerRequest(pod, 'c', shell('true'), {
      labels: new Map([
        ['a', '1'],
        ['b', '2'],
      ]),
    });
    const hangUp = new AbortController();
    const cut = runtime.createContainer(request, { signal: hangUp.signal });
    setTimeout(() => {
      hangUp.abort();
    }, 5);
    const first = await cut.catch(() => undefined);
    const repeats = await Promise.all([1, 2, 3, 4].map(() => runtime.createContainer(request)));
    const ids = new Set(repeats.map(({ containerId }) => containerId));
    if (first) ids.add(first.containerId);
    assert.equal(ids.size, 1);
    const swapped = containerRequest(pod, 'c', shell('true'), {
      labels: new Map([
        ['b', '2'],
        ['a', '1'],
      ]),
    });
    assert.ok(ids.has((await runtime.createContainer(swapped)).containerId));
    await agent.stop('SIGKILL');
    await agent.start();
    assert.ok(ids.has((await agent.client.runtime.createContainer(request)).containerId));
    const [containerId = ''] = ids;
    await assert.rejects(
      agent.client.runtime.createContainer(containerRequest(pod, 'c', shell('false'))),
      { kind: 'already-exists', message: new RegExp(`container c .*${containerId}: remove it`) },
    );
    // A started one is nobody's to adopt: it may have run to its end already.
    await agent.client.runtime.startContainer({ containerId });
    await assert.rejects(agent.client.runtime.createContainer(request), { kind: 'already-exists' });
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('StopContainer ten times at once: the shortest grace holds, and the signal comes once', async () => {
    const pod = await hostPod();
    const script = 'trap "echo term" TERM; echo up; while :; do sleep 0.02; done';
    const containerId = await started(pod, 'c', script);
    const before = Date.now();
    const graces = [60, 50, 40, 30, 20, 10, 5, 4, 3, 1];
    await Promise.all(
      graces.map((seconds) =>
        agent.client.runtime.stopContainer({ containerId, timeout: BigInt(seconds) }),
      ),
    );
    const lasted = Date.now() - before;
    assert.ok(lasted >= 900 && lasted < 4000, `${lasted} ms`);
    assert.equal((await status(containerId)).exitCode, 137);
    assert.equal(agent.readLog('c.log').match(/term/g)?.length, 1);
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('StopContainer again with no grace ends a long one', async () => {
    const pod = await hostPod();
    const script = 'trap "" TERM; echo up; while :; do sleep 0.02; done';
    const containerId = await started(pod, 'c', script);
    const patient = agent.client.runtime.stopContainer({ containerId, timeout: 1000n });
    await agent.client.runtime.stopContainer({ containerId, timeout: 0n });
    await patient;
    await agent.client.runtime.stopContainer({ containerId, timeout: 10n });
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('stops and removals side by side, again, and of what is gone', async () => {
    const pod = (await agent.client.runtime.runPodSandbox(podRequest(agent, 'pod'))).podSandboxId;
    const containerId = await started(pod, 'c', 'echo up; exec sleep 1000');
    const { runtime } = agent.client;
    const five = <T>(call: () => Promise<T>) => Promise.all([1, 2, 3, 4, 5].map(() => call()));
    await Promise.all([
      five(() => runtime.removeContainer({ containerId })),
      five(() => runtime.stopContainer({ containerId, timeout: 1n })),
    ]);
    await runtime.removeContainer({ containerId });
    await started(pod, 'd', 'echo up; exec sleep 1000');
    await Promise.all([
      five(() => runtime.stopPodSandbox({ podSandboxId: pod })),
      five(() => runtime.removePodSandbox({ podSandboxId: pod })),
    ]);
    await runtime.stopPodSandbox({ podSandboxId: pod });
    await runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await podIds(), []);
  });

  it('takes the unique start of an id for the whole', async () => {
    const pod = await hostPod();
    const containerId = await started(pod, 'c', 'echo up; exec sleep 1000');
    const { runtime } = agent.client;
    const short = containerId.slice(0, 12);
    assert.equal((await status(short)).id, containerId);
    const exec = await runtime.execSync({ containerId: short, cmd: ['true'], timeout: 5n });
    assert.equal(exec.exitCode, 0);
    await runtime.stopContainer({ containerId: short, timeout: 0n });
    assert.equal((await status(short)).state, ContainerState.CONTAINER_EXITED);
    await runtime.removeContainer({ containerId: short });
    await assert.rejects(status(containerId), { kind: 'not-found' });
    const others = await Promise.all(Array.from({ length: 17 }, (_, n) => hostPod(`p${n}`)));
    // Of 18 ids two begin with the same digit.
    const digits = [pod, ...others].map((id) => id[0]!);
    const twice = digits.find((digit, n) => digits.indexOf(digit) !== n)!;
    await assert.rejects(runtime.removePodSandbox({ podSandboxId: twice }), {
      kind: 'invalid-argument',
      message: /ambiguous/,
    });
    await Promise.all(
      [pod, ...others].map((id) => runtime.removePodSandbox({ podSandboxId: id.slice(0, 16) })),
    );
    assert.deepEqual(await podIds(), []);
  });
});
