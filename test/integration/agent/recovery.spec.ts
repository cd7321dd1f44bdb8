/** kill -9 of the agent, of shims and of the disk's last write: what the next start makes of it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { PodSandboxState } from '../../../src/cri/gen/sandbox.js';
import { CGROUP_ROOT, TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { isAlive, processesWith, until as untilTrue } from '../../support/processes.js';

describe('recovery of a real agent', function () {
  this.timeout(600_000);
  let agent: TestAgent;

  beforeEach(async () => {
    agent = new TestAgent();
    await agent.start();
    await agent.client.image.pullImage({
      image: {
        image: agent.busyboxReference(),
        annotations: new Map(),
        userSpecifiedImage: '',
        runtimeHandler: '',
        imageRef: '',
      },
      auth: undefined,
      sandboxConfig: undefined,
    });
  });

  afterEach(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  const run = async (name: string) =>
    (await agent.client.runtime.runPodSandbox(podRequest(agent, name))).podSandboxId;
  const create = async (pod: string, name: string, script: string) =>
    (await agent.client.runtime.createContainer(containerRequest(pod, name, shell(script))))
      .containerId;
  const start = (containerId: string) => agent.client.runtime.startContainer({ containerId });
  const status = async (containerId: string) => {
    const response = await agent.client.runtime.containerStatus({ containerId, verbose: true });
    assert.ok(response.status);
    const info = JSON.parse(response.info.get('info') ?? '{}') as { pid: number };
    return { ...response.status, pid: info.pid };
  };
  const until = async (containerId: string, state: ContainerState) => {
    for (;;) {
      const now = await status(containerId);
      if (now.state === state) return now;
      await sleep(20);
    }
  };
  const killAndStart = async (between: () => Promise<void> = () => Promise.resolve()) => {
    await agent.stop('SIGKILL');
    await between();
    await agent.start();
  };

  it('finds every state again, and the same process', async () => {
    const pod = await run('p');
    const created = await create(pod, 'created', 'echo started late');
    const running = await create(pod, 'running', 'while :; do sleep 0.05; done');
    const exited = await create(pod, 'exited', 'exit 5');
    await start(running);
    await start(exited);
    const before = await until(exited, ContainerState.CONTAINER_EXITED);
    const wasRunning = await status(running);
    await killAndStart();
    const sandbox = await agent.client.runtime.podSandboxStatus({
      podSandboxId: pod,
      verbose: false,
    });
    assert.equal(sandbox.status?.state, PodSandboxState.SANDBOX_READY);
    assert.match(sandbox.status.network?.ip ?? '', /^10\.99/);
    assert.equal((await status(created)).state, ContainerState.CONTAINER_CREATED);
    const now = await status(running);
    assert.deepEqual(
      [now.state, now.pid, now.startedAt],
      [1, wasRunning.pid, wasRunning.startedAt],
    );
    const after = await status(exited);
    assert.deepEqual(
      [after.exitCode, after.startedAt, after.finishedAt],
      [5, before.startedAt, before.finishedAt],
    );
    await start(created);
    await until(created, ContainerState.CONTAINER_EXITED);
    assert.match(agent.readLog('created.log'), /started late/);
    const out = await agent.client.runtime.execSync({
      containerId: running,
      cmd: ['echo', 'hi'],
      timeout: 5n,
    });
    assert.equal(out.stdout.toString(), 'hi\n');
    await agent.client.runtime.stopContainer({ containerId: running, timeout: 0n });
    assert.equal((await status(running)).exitCode, 137);
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('knows the exit and keeps the log of what ended while it was down', async () => {
    const pod = await run('p');
    const id = await create(
      pod,
      'c',
      'n=0; while [ $n -lt 20 ]; do echo line $n; n=$((n+1)); sleep 0.05; done; exit 9',
    );
    await start(id);
    await killAndStart(() => sleep(2500));
    const end = await status(id);
    assert.deepEqual([end.state, end.exitCode], [ContainerState.CONTAINER_EXITED, 9]);
    const lasted = Number(end.finishedAt - end.startedAt) / 1e9;
    assert.ok(lasted > 0.9 && lasted < 2.4, `ran for ${lasted} s, not until it was found`);
    const lines = agent.readLog('c.log').trim().split('\n');
    assert.deepEqual(
      lines.map((line) => line.replace(/^\S+ stdout F /, '')),
      Array.from({ length: 20 }, (_, n) => `line ${n}`),
    );
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('ends what lost its shim, also while it was down', async () => {
    const pod = await run('p');
    const [a, b] = [await create(pod, 'a', 'sleep 1000'), await create(pod, 'b', 'sleep 1000')];
    await start(a);
    await start(b);
    const [aPid, bPid] = [(await status(a)).pid, (await status(b)).pid];
    process.kill(shimOf(a), 'SIGKILL');
    const lost = await until(a, ContainerState.CONTAINER_EXITED);
    assert.deepEqual([lost.exitCode, lost.reason], [255, 'ContainerStatusUnknown']);
    const { startedAt } = await status(b);
    await killAndStart(() => {
      process.kill(shimOf(b), 'SIGKILL');
      return Promise.resolve();
    });
    const after = await status(b);
    assert.deepEqual([after.exitCode, after.reason], [255, 'ContainerStatusUnknown']);
    // When it had been started is known all the same, in this life and in later ones.
    await killAndStart();
    for (const [id, at] of [
      [a, lost.startedAt],
      [b, startedAt],
    ] as const) {
      const found = await status(id);
      assert.ok(at > 0n && found.startedAt === at && found.finishedAt >= at);
    }
    for (const pid of [aPid, bPid]) await untilTrue(() => !isAlive(pid));
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('leaves no command of an exec whose helper was killed with it', async () => {
    const pod = await run('p');
    const id = await create(pod, 'c', 'while :; do sleep 0.05; done');
    await start(id);
    const { pid } = await status(id);
    // Out of its own session, so that the death signal of the helper does not reach all of it.
    const cmd = shell('setsid sleep 4391 & exec sleep 4391');
    const ends = agent.client.runtime.execSync({ containerId: id, cmd, timeout: 0n });
    ends.catch(() => undefined);
    const commands = () => processesWith('sleep\x004391');
    await untilTrue(() => commands().length === 2);
    await killAndStart(() => {
      for (const helper of processesWith(`pvecri-exec\0${id}`)) process.kill(helper, 'SIGKILL');
      return Promise.resolve();
    });
    await assert.rejects(ends);
    await untilTrue(() => commands().length === 0);
    const info = await agent.client.runtime.containerStatus({ containerId: id, verbose: true });
    const { cgroup } = JSON.parse(info.info.get('info') ?? '') as { cgroup: string };
    const left = readdirSync(join(CGROUP_ROOT, cgroup)).filter((name) => name.startsWith('exec-'));
    assert.deepEqual(left, []);
    assert.equal((await status(id)).pid, pid);
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('finds the init of a shared PID namespace, and a pod without it not ready', async () => {
    const namespaceOptions = { network: NamespaceMode.NODE, pid: NamespaceMode.POD };
    const linux = { securityContext: { namespaceOptions } };
    const request = podRequest(agent, 'shared', { linux });
    const { podSandboxId } = await agent.client.runtime.runPodSandbox(request);
    const init = Number(
      execFileSync('pgrep', ['-n', '-x', 'pvecri-pause'], { encoding: 'utf8' }).trim(),
    );
    const state = async () =>
      (await agent.client.runtime.podSandboxStatus({ podSandboxId, verbose: false })).status?.state;
    await killAndStart();
    assert.equal(await state(), PodSandboxState.SANDBOX_READY);
    process.kill(init, 'SIGKILL');
    for (let i = 0; (await state()) === PodSandboxState.SANDBOX_READY; i++) {
      assert.ok(i < 250);
      await sleep(20);
    }
    await killAndStart();
    assert.equal(await state(), PodSandboxState.SANDBOX_NOTREADY);
    await agent.client.runtime.removePodSandbox({ podSandboxId });
  });

  it('ends what lost its shim and has no death signal any more', async () => {
    const pod = await run('p');
    // A change of user clears it, as in images that start by gosu or su-exec.
    const script = 'exec su -s /bin/sh app -c "echo up; exec sleep 1000"';
    const [a, b] = [await create(pod, 'a', script), await create(pod, 'b', script)];
    for (const id of [a, b]) await start(id);
    const [aPid, bPid] = [(await status(a)).pid, (await status(b)).pid];
    for (const log of ['a.log', 'b.log']) await untilTrue(() => agent.readLog(log).includes('up'));
    process.kill(shimOf(a), 'SIGKILL');
    await until(a, ContainerState.CONTAINER_EXITED);
    await untilTrue(() => !isAlive(aPid));
    await killAndStart(async () => {
      process.kill(shimOf(b), 'SIGKILL');
      await untilTrue(() => processesWith(`pvecri-shim\0${b}`).length === 0);
      await sleep(100);
      assert.ok(isAlive(bPid), 'it would have proved nothing');
    });
    const after = await status(b);
    assert.deepEqual([after.exitCode, after.reason], [255, 'ContainerStatusUnknown']);
    await untilTrue(() => !isAlive(bPid));
    const monitors = (): string[] =>
      readdirSync(join(CGROUP_ROOT, agent.cgroup, 'monitor')).filter((name) => name.length === 64);
    assert.deepEqual(monitors().sort(), [a, b].sort());
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(monitors(), []);
  });

  it('leaves no container behind that was in the making', async () => {
    const pod = await run('p');
    for (let round = 0; round < 8; round++) {
      void create(pod, `c${round}`, 'sleep 1000').catch(() => undefined);
      await sleep(3 + round * 6);
      await killAndStart();
    }
    const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
    for (const { id } of containers)
      await agent.client.runtime.removeContainer({ containerId: id });
    // One that was cut off late may still be on its way out.
    const shims = () => agent.left().filter((each) => each.includes('pvecri-shim'));
    for (let i = 0; shims().length > 0; i++) {
      assert.ok(i < 250, shims().join());
      await sleep(20);
    }
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
  });

  it('survives being killed again and again under work', async () => {
    for (let round = 0; round < 4; round++) {
      // Fire and forget: the calls are cut wherever they are.
      const name = `r${round}`;
      void run(name)
        .then((pod) => create(pod, 'c', 'sleep 1000'))
        .then(start)
        .catch(() => undefined);
      await sleep(20 + round * 35);
      await killAndStart();
      // The repeat of the same request ends with one sandbox of that name.
      const pod = await run(name);
      const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
      assert.deepEqual(
        items.filter((item) => item.metadata?.name === name).map((item) => item.id),
        [pod],
      );
      const containers = await agent.client.runtime.listContainers({ filter: undefined });
      for (const { podSandboxId } of containers.containers) {
        assert.ok(items.some((item) => item.id === podSandboxId));
      }
    }
    const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
    for (const { id } of items) await agent.client.runtime.removePodSandbox({ podSandboxId: id });
  });

  function shimOf(id: string): number {
    return Number(execFileSync('pgrep', ['-o', '-f', `pvecri-shim ${id}`], { encoding: 'utf8' }));
  }
});
