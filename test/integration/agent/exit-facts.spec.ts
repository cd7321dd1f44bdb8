/** How containers end: code, signal, times and reasons, as the kubelet reads them. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ContainerState, type ContainerStatus } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { patient } from '../../support/patience.js';
import { until } from '../../support/processes.js';

type Change = Parameters<typeof containerRequest>[3];

describe('the end of a container', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pod: string;
  let number = 0;

  before(async () => {
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
    const request = podRequest(agent, 'pod', {}, NamespaceMode.NODE);
    pod = (await agent.client.runtime.runPodSandbox(request)).podSandboxId;
  });

  after(async () => {
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  const create = async (command: string[], change: Change = {}) => {
    const request = containerRequest(pod, `c${number++}`, command, change);
    return (await agent.client.runtime.createContainer(request)).containerId;
  };
  const start = (containerId: string) => agent.client.runtime.startContainer({ containerId });
  const status = async (containerId: string) => {
    const answer = await agent.client.runtime.containerStatus({ containerId, verbose: false });
    assert.ok(answer.status);
    return answer.status;
  };
  const end = async (containerId: string): Promise<ContainerStatus> => {
    await until(async () => (await status(containerId)).state === ContainerState.CONTAINER_EXITED);
    return status(containerId);
  };
  /** Created ≤ started ≤ finished, and none of them later than now. */
  const assertTimes = ({ createdAt, startedAt, finishedAt }: ContainerStatus) => {
    const now = BigInt(Date.now() + 1) * 1_000_000n;
    assert.ok(0n < createdAt && createdAt <= startedAt, `${createdAt} ${startedAt}`);
    assert.ok(startedAt <= finishedAt && finishedAt <= now, `${startedAt} ${finishedAt} ${now}`);
  };

  for (const [what, script, code, reason] of [
    ['success', 'exit 0', 0, 'Completed'],
    ['an error', 'exit 3', 3, 'Error'],
    ['the largest code', 'exit 255', 255, 'Error'],
    ['a code above 128 that is no signal', 'exit 200', 200, 'Error'],
    ['SIGKILL', 'kill -9 $$; sleep 9', 137, 'Error'],
    ['SIGTERM', 'kill -15 $$; sleep 9', 143, 'Error'],
    ['SIGSEGV', 'kill -11 $$; sleep 9', 139, 'Error'],
    ['a real-time signal', 'kill -34 $$; sleep 9', 162, 'Error'],
  ] as const)
    it(`of ${what} is ${reason} with ${code}`, async () => {
      // The shell is not the first process: from inside its namespace that takes no deadly signal.
      const id = await create(shell(`/bin/sh -c '${script}' & wait $!`));
      await start(id);
      const ended = await end(id);
      assert.deepEqual([ended.exitCode, ended.reason], [code, reason]);
      assertTimes(ended);
    });

  it('by a signal from outside is 128 and its number', async () => {
    const id = await create(shell('exec sleep 1000'));
    await start(id);
    await agent.client.runtime.stopContainer({ containerId: id, timeout: 0n });
    const ended = await end(id);
    assert.deepEqual([ended.exitCode, ended.reason], [137, 'Error']);
    assertTimes(ended);
  });

  for (const [what, command, change, text, code] of [
    ['missing', ['/no/such'], {}, /\/no\/such.*ENOENT/, 128],
    ['not on PATH', ['nowhere'], {}, /nowhere.*ENOENT/, 128],
    ['not executable', ['/etc/passwd'], {}, /\/etc\/passwd.*EACCES/, 128],
    ['a folder', ['/etc'], {}, /\/etc.*EACCES/, 128],
    ['below a file', ['/etc/passwd/x'], {}, /\/etc\/passwd\/x.*ENOTDIR/, 128],
  ] as [string, string[], Change, RegExp, number][])
    it(`of a command that is ${what} comes at its start, as ContainerCannotRun`, async () => {
      const id = await create(command, change);
      await assert.rejects(start(id), { kind: 'invalid-argument', message: text });
      const ended = await end(id);
      assert.equal(ended.reason, 'ContainerCannotRun');
      assert.ok(ended.message.startsWith(`exec ${command[0]}: `), ended.message);
      assert.equal(ended.exitCode, code);
      assert.ok(ended.finishedAt >= ended.createdAt);
      await assert.rejects(start(id), { kind: 'failed-precondition', message: /exited already/ });
      await agent.client.runtime.removeContainer({ containerId: id });
    });

  it('of one without its working directory: that is made, as other runtimes do', async () => {
    const id = await create(shell('pwd'), { workingDir: '/made/for/it' });
    await start(id);
    assert.equal((await end(id)).exitCode, 0);
  });

  it('of one that was never started says so', async () => {
    const id = await create(shell('true'));
    await agent.client.runtime.stopContainer({ containerId: id, timeout: 2n });
    const ended = await end(id);
    assert.equal(ended.startedAt, 0n);
    assert.ok(ended.finishedAt >= ended.createdAt);
    assert.notEqual(ended.reason, 'Completed');
  });

  it('while the agent is down is known in full at its next start', async () => {
    const ids = [
      await create(shell(`sleep ${patient(1)}; exit 4`)),
      await create(
        shell('trap "echo asked; sleep 0.6; exit 9" TERM; while :; do sleep 0.02; done'),
      ),
      await create(shell('sleep 0.6; kill -9 $$')),
    ];
    for (const id of ids) await start(id);
    // Killed in the middle of the grace period of a stop: the signal is out, the end comes without it.
    const stopping = agent.client.runtime.stopContainer({ containerId: ids[1]!, timeout: 60n });
    const over = stopping.then(
      () => true,
      () => false,
    );
    await until(() => agent.readLog(`c${number - 2}.log`).includes('asked'));
    const down = BigInt(Date.now()) * 1_000_000n;
    await agent.stop('SIGKILL');
    await over;
    await until(() => ids.every((id) => existsSync(join(agent.root, 'containers', id, 'exit'))));
    const up = BigInt(Date.now()) * 1_000_000n;
    await agent.start();
    const [a, b] = [await status(ids[0]!), await status(ids[1]!)];
    assert.deepEqual(
      [a.state, a.exitCode, a.reason],
      [ContainerState.CONTAINER_EXITED, 4, 'Error'],
    );
    assert.deepEqual(
      [b.state, b.exitCode, b.reason],
      [ContainerState.CONTAINER_EXITED, 9, 'Error'],
    );
    for (const each of [a, b]) assertTimes(each);
    assert.ok(a.finishedAt > down && a.finishedAt < up, 'the time of its end, not of its finding');
  });

  it('by memory is OOMKilled', async function () {
    const { status: node } = await agent.client.runtime.status({ verbose: false });
    const controllers = node?.conditions.find(({ type }) => type === 'CgroupControllersReady');
    // The limit is the memory controller's of cgroup v2.
    if (controllers?.message.includes('memory')) this.skip();
    const resources = { memoryLimitInBytes: 32n << 20n, memorySwapLimitInBytes: 32n << 20n };
    const script = 'x=a; while :; do x=$x$x; done';
    const id = await create(shell(script), { linux: { resources } });
    await start(id);
    const ended = await end(id);
    assert.deepEqual([ended.exitCode, ended.reason], [137, 'OOMKilled']);
    assertTimes(ended);
  });
});
