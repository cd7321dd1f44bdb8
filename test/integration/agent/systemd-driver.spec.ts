/** Pods under the systemd cgroup driver: slices and scopes, real limits, and nothing left of them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { UpdateContainerResourcesRequest } from '../../../src/cri/gen/resources.js';
import { CgroupDriver } from '../../../src/cri/gen/runtime.js';
import { PodSandboxState } from '../../../src/cri/gen/sandbox.js';
import { CGROUP_ROOT, TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';
import { isAlive, until } from '../../support/processes.js';
import { systemctl, unitProperty, unitsOf, whyNoSystemdDriver } from '../../support/systemd.js';

const MEBI = 1n << 20n;

describe('systemd cgroup driver of a real agent', function () {
  this.timeout(600_000);
  let agent: TestAgent;
  /** As the kubelet names them. */
  const top = `pvecritest${randomBytes(3).toString('hex')}`;
  const parent = `${top}-burstable-pod0f_1.slice`;
  const parentFolder = join(CGROUP_ROOT, `${top}.slice/${top}-burstable.slice/${parent}`);

  before(async function () {
    if (whyNoSystemdDriver() !== undefined) this.skip();
    agent = new TestAgent('[cgroup]\ndriver = "systemd"\n');
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
    systemctl('start', parent);
  });

  after(async () => {
    if (whyNoSystemdDriver() !== undefined) return;
    assert.deepEqual(await agent.close(), []);
    systemctl('stop', `${top}.slice`);
    await until(() => unitsOfAgent().length === 0);
    assert.deepEqual(unitsOf(top), []);
  });

  const unitsOfAgent = () => unitsOf(agent.slice.replace('.slice', ''));
  const ownScope = () => agent.slice.replace('.slice', '-own.scope');
  const scopesOf = (slice: string) =>
    readdirSync(slice).filter((name) => name.startsWith('pvecri-') && name.endsWith('.scope'));
  const run = async (name: string, change: Parameters<typeof podRequest>[2] = {}) => {
    const request = podRequest(agent, name, change, NamespaceMode.NODE);
    return (await agent.client.runtime.runPodSandbox(request)).podSandboxId;
  };
  const inKubeletsSlice = { linux: { cgroupParent: parent } };
  const create = async (pod: string, name: string, script: string, change = {}) =>
    (await agent.client.runtime.createContainer(containerRequest(pod, name, shell(script), change)))
      .containerId;
  const start = (containerId: string) => agent.client.runtime.startContainer({ containerId });
  const status = async (containerId: string) => {
    const response = await agent.client.runtime.containerStatus({ containerId, verbose: true });
    assert.ok(response.status);
    const info = JSON.parse(response.info.get('info') ?? '{}') as { pid: number };
    return { ...response.status, pid: info.pid };
  };
  const ended = async (id: string) => {
    for (let round = 0; ; round++) {
      const now = await status(id);
      if (now.state === ContainerState.CONTAINER_EXITED) return now;
      assert.ok(round < 3000, 'it does not end');
      await sleep(20);
    }
  };
  const exec = async (containerId: string, script: string) => {
    const cmd = shell(script);
    const result = await agent.client.runtime.execSync({ containerId, cmd, timeout: 60n });
    return { ...result, text: result.stdout.toString() };
  };
  const remove = (podSandboxId: string) => agent.client.runtime.removePodSandbox({ podSandboxId });
  const cgroupOf = (pid: number) =>
    readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().replace('0::', '');
  const scopeOf = (id: string) => join(parentFolder, `pvecri-${id}.scope`);
  const readBox = (id: string, file: string) =>
    readFileSync(join(scopeOf(id), 'box', file), 'utf8').trim();
  const holderOf = (scope: string) =>
    Number(readFileSync(join(scope, 'hold/cgroup.procs'), 'utf8'));

  it('tells the kubelet its driver, and refuses a parent that is no slice', async () => {
    const { linux } = await agent.client.runtime.runtimeConfig({});
    assert.equal(linux?.cgroupDriver, CgroupDriver.SYSTEMD);
    for (const [cgroupParent, message] of [
      ['/kubepods/burstable/pod1', /cgroupDriver/],
      ['/kubepods.slice', /cgroupDriver/],
      ['kubepods', /must end in \.slice/],
      ['a--b.slice', /dash/],
      ['-.slice', /root slice/],
      ['a\nb.slice', /escape/],
    ] as const) {
      await assert.rejects(run('bad', { linux: { cgroupParent } }), {
        kind: 'invalid-argument',
        message,
      });
    }
    assert.deepEqual(agent.left(), []);
  });

  it('runs a container in a scope of the kubelet’s slice, with limits that stay', async () => {
    const pod = await run('p', inKubeletsSlice);
    const resources = {
      memoryLimitInBytes: 64n * MEBI,
      cpuQuota: 50_000n,
      cpuPeriod: 100_000n,
      cpuShares: 512n,
      unified: new Map([['memory.min', String(8n * MEBI)]]),
    };
    const id = await create(pod, 'c', 'while :; do sleep 0.1; done', { linux: { resources } });
    const scope = `pvecri-${id}.scope`;
    assert.equal(unitProperty(scope, 'ActiveState'), 'active');
    assert.equal(unitProperty(scope, 'Slice'), parent);
    assert.equal(unitProperty(scope, 'Delegate'), 'yes');
    assert.equal(unitProperty(scope, 'TasksMax'), 'infinity');
    await start(id);
    const { pid } = await status(id);
    assert.equal(join(CGROUP_ROOT, cgroupOf(pid)), join(scopeOf(id), 'box/lxc'));
    assert.equal(readFileSync(join(scopeOf(id), 'cgroup.procs'), 'utf8'), '');
    assert.match(
      readFileSync(`/proc/${holderOf(scopeOf(id))}/cmdline`, 'utf8'),
      /pvecri-pause\0hold/,
    );

    const check = (): void => {
      assert.equal(readBox(id, 'memory.max'), String(64n * MEBI));
      assert.equal(readBox(id, 'cpu.max'), '50000 100000');
      // Weighed against the pod's other scopes, granted from the pod's slice downwards.
      for (const folder of [scopeOf(id), join(scopeOf(id), 'box')]) {
        assert.equal(readFileSync(join(folder, 'cpu.weight'), 'utf8'), '20\n');
        assert.equal(readFileSync(join(folder, 'memory.min'), 'utf8'), `${8n * MEBI}\n`);
      }
    };
    check();
    systemctl('daemon-reload');
    check();
    // What resets the limits of systemd's own units.
    systemctl('set-property', '--runtime', scope, 'IOWeight=200');
    systemctl('set-property', '--runtime', parent, 'CPUWeight=300');
    check();
    assert.ok(isAlive(pid));
    assert.equal((await exec(id, 'echo alive')).text, 'alive\n');
    const { stats } = await agent.client.runtime.containerStats({ containerId: id });
    assert.ok((stats?.memory?.workingSetBytes?.value ?? 0n) > 0n);
    // The device filter is on the box: a disk of the host cannot be read.
    const disk = await exec(id, 'mknod /disk b 254 0 && head -c 1 /disk');
    assert.match(disk.stderr.toString(), /not permitted/);

    await agent.client.runtime.stopContainer({ containerId: id, timeout: 0n });
    assert.equal((await status(id)).exitCode, 137);
    await agent.client.runtime.removeContainer({ containerId: id });
    assert.deepEqual(scopesOf(parentFolder), []);
    await until(() => !unitsOf(top).includes(scope));
    await remove(pod);
    assert.ok(existsSync(parentFolder), 'the slice is the kubelet’s');
  });

  it('enforces the memory limit and says who was killed', async () => {
    const pod = await run('oom', inKubeletsSlice);
    const linux = { resources: { memoryLimitInBytes: 32n * MEBI } };
    const id = await create(pod, 'c', 'exec tail /dev/zero', { linux });
    await start(id);
    const end = await ended(id);
    assert.deepEqual([end.exitCode, end.reason], [137, 'OOMKilled']);
    assert.ok(existsSync(join(scopeOf(id), 'box')), 'kept by its holder until it is removed');
    await remove(pod);
    assert.deepEqual(scopesOf(parentFolder), []);
  });

  it('refuses a weight that systemd cannot express, and leaves nothing', async () => {
    const pod = await run('weight', inKubeletsSlice);
    const linux = { resources: { unified: new Map([['cpu.weight.nice', '3']]) } };
    await assert.rejects(create(pod, 'c', 'true', { linux }), {
      kind: 'invalid-argument',
      message: /cpu\.weight\.nice.*systemd/,
    });
    const malformed = { resources: { unified: new Map([['memory.high', 'much']]) } };
    await assert.rejects(create(pod, 'c', 'true', { linux: malformed }), {
      kind: 'invalid-argument',
    });
    assert.deepEqual(scopesOf(parentFolder), []);
    await remove(pod);
  });

  it('keeps a pod without a parent in a scope of its own, and takes limits of both kinds', async () => {
    const limits = { memoryLimitInBytes: 128n * MEBI, cpuShares: 256n };
    const pod = await run('own', { linux: { resources: limits } });
    const id = await create(pod, 'c', 'sleep 1000', {
      linux: { resources: { memoryLimitInBytes: 64n * MEBI } },
    });
    await start(id);
    const { pid } = await status(id);
    const folder = `/${agent.slice}/${ownScope()}/pod/${pod}`;
    assert.equal(cgroupOf(pid), `${folder}/${id}/lxc`);
    systemctl('daemon-reload');
    const read = (path: string) => readFileSync(join(CGROUP_ROOT, folder, path), 'utf8');
    assert.equal(read('memory.max'), `${128n * MEBI}\n`);
    assert.equal(read(`${id}/memory.max`), `${64n * MEBI}\n`);
    await remove(pod);
    assert.ok(!existsSync(join(CGROUP_ROOT, folder)));
    assert.ok(!isAlive(pid));
  });

  it('changes limits and weights of a running container', async () => {
    const pod = await run('update', inKubeletsSlice);
    const id = await create(pod, 'c', 'sleep 1000', {
      linux: { resources: { memoryLimitInBytes: 64n * MEBI, cpuShares: 512n } },
    });
    await start(id);
    await agent.client.runtime.updateContainerResources(
      UpdateContainerResourcesRequest.fromPartial({
        containerId: id,
        linux: { memoryLimitInBytes: 96n * MEBI, cpuShares: 1024n },
      }),
    );
    assert.equal(readBox(id, 'memory.max'), String(96n * MEBI));
    assert.equal(unitProperty(`pvecri-${id}.scope`, 'CPUWeight'), '39');
    assert.equal(readFileSync(join(scopeOf(id), 'cpu.weight'), 'utf8'), '39\n');
    systemctl('daemon-reload');
    assert.equal(readBox(id, 'memory.max'), String(96n * MEBI));
    assert.equal(readFileSync(join(scopeOf(id), 'cpu.weight'), 'utf8'), '39\n');
    await remove(pod);
  });

  it('has the init of a shared PID namespace in a scope of the pod', async () => {
    const securityContext = {
      namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.POD },
    };
    const pod = await run('shared', { linux: { cgroupParent: parent, securityContext } });
    const init = Number(readFileSync(join(scopeOf(pod), 'box/cgroup.procs'), 'utf8'));
    assert.match(readFileSync(`/proc/${init}/cmdline`, 'utf8'), /^pvecri-pause\0$/);
    const namespaceOptions = { pid: NamespaceMode.POD };
    const linux = { securityContext: { namespaceOptions } };
    const id = await create(pod, 'c', 'sleep 1000', { linux });
    await start(id);
    assert.match((await exec(id, 'ps')).text, /^ +1 .*pvecri-pause/m);
    await agent.stop('SIGKILL');
    await agent.start();
    const { status: sandbox } = await agent.client.runtime.podSandboxStatus({
      podSandboxId: pod,
      verbose: false,
    });
    assert.equal(sandbox?.state, PodSandboxState.SANDBOX_READY);
    await remove(pod);
    assert.deepEqual(scopesOf(parentFolder), []);
    assert.ok(!isAlive(init));
  });

  it('finds its containers again after an orderly stop and after kill -9', async () => {
    const pod = await run('again', inKubeletsSlice);
    const id = await create(pod, 'c', 'sleep 1000');
    await start(id);
    const { pid } = await status(id);
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await agent.stop(signal);
      systemctl('daemon-reload');
      await agent.start();
      const now = await status(id);
      assert.deepEqual([now.state, now.pid], [ContainerState.CONTAINER_RUNNING, pid]);
      assert.equal((await exec(id, 'echo alive')).text, 'alive\n');
    }
    await remove(pod);
    assert.ok(!isAlive(pid));
    assert.deepEqual(scopesOf(parentFolder), []);
  });

  it('goes on when a holder is killed, and ends with its scope', async () => {
    const pod = await run('holders', inKubeletsSlice);
    const a = await create(pod, 'a', 'sleep 1000');
    const b = await create(pod, 'b', "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done");
    for (const id of [a, b]) await start(id);
    await until(() => agent.readLog('b.log').includes('up'));
    process.kill(holderOf(scopeOf(a)), 'SIGKILL');
    const own = join(CGROUP_ROOT, agent.slice, ownScope());
    process.kill(holderOf(own), 'SIGKILL');
    await until(() => readFileSync(join(own, 'hold/cgroup.procs'), 'utf8') === '');
    assert.equal((await exec(a, 'echo alive')).text, 'alive\n');
    const c = await create(pod, 'c', 'sleep 1000');
    assert.ok(isAlive(holderOf(own)), 'the shims have a holder again');
    systemctl('stop', `pvecri-${b}.scope`);
    assert.equal((await ended(b)).exitCode, 3);
    for (const id of [a, b, c]) await agent.client.runtime.removeContainer({ containerId: id });
    assert.deepEqual(scopesOf(parentFolder), []);
    await remove(pod);
  });

  it('leaves nothing of what was in the making when it was killed', async () => {
    for (let round = 0; round < 8; round++) {
      // Cut wherever it is: before, while and after systemd makes slice and scopes.
      void run(`cut${round}`, round % 2 === 0 ? {} : inKubeletsSlice)
        .then((pod) => create(pod, 'c', 'sleep 1000'))
        .then(start)
        .catch(() => undefined);
      await sleep(100 + round * 250);
      await agent.stop('SIGKILL');
      await agent.start();
    }
    const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
    for (const { id } of items) await remove(id);
    // A command of systemd that was under way ends by itself, and so does what it made.
    await until(() => unitsOf(top).every((unit) => unit.endsWith('.slice')));
    assert.deepEqual(scopesOf(parentFolder), []);
    await agent.stop();
    await until(() => unitsOfAgent().length === 0);
    assert.deepEqual(agent.left(), []);
    await agent.start();
  });
});
