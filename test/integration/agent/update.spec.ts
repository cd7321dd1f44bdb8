/** Limits and node settings that change while pods run, through the CRI socket of a real agent. */
import assert from 'node:assert/strict';
import { readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { LinuxContainerResources } from '../../../src/cri/gen/resources.js';
import { CGROUP_ROOT, TestAgent } from '../../support/agent.js';
import { containerRequest, podRequest, shell } from '../../support/cri-requests.js';

type Limits = Parameters<typeof LinuxContainerResources.fromPartial>[0];

const controllers = new Set(
  readFileSync(join(CGROUP_ROOT, 'cgroup.controllers'), 'utf8').trim().split(' '),
);
const limitable = controllers.has('memory') && controllers.has('cpu');
const MIB = 2n ** 20n;
const TMPFS_MAGIC = 0x01021994;

describe('changing limits through CRI', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pod: string;

  before(async () => {
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
    pod = (await agent.client.runtime.runPodSandbox(podRequest(agent, 'limits'))).podSandboxId;
  });

  after(async () => {
    await agent.client.runtime.removePodSandbox({ podSandboxId: pod });
    assert.deepEqual(await agent.close(), []);
  });

  const create = async (name: string, script: string, change = {}) =>
    (await agent.client.runtime.createContainer(containerRequest(pod, name, shell(script), change)))
      .containerId;
  const start = (containerId: string) => agent.client.runtime.startContainer({ containerId });
  const update = (containerId: string, limits: Limits) =>
    agent.client.runtime.updateContainerResources({
      containerId,
      linux: LinuxContainerResources.fromPartial(limits),
      windows: undefined,
      annotations: new Map(),
    });
  const shown = async (containerId: string) =>
    (await agent.client.runtime.containerStatus({ containerId, verbose: false })).status;
  const cgroupOf = async (containerId: string) => {
    const { info } = await agent.client.runtime.containerStatus({ containerId, verbose: true });
    return (JSON.parse(info.get('info') ?? '') as { cgroup: string }).cgroup;
  };

  describe('of a container', () => {
    it('is refused for one that is unknown or has ended', async () => {
      const id = await create('ended', 'exit 0');
      await start(id);
      while ((await shown(id))?.state !== ContainerState.CONTAINER_EXITED) await sleep(20);
      await assert.rejects(update(id, { cpuShares: 5n }), {
        kind: 'failed-precondition',
        message: /has exited/,
      });
      await assert.rejects(update('f'.repeat(64), { cpuShares: 5n }), { kind: 'not-found' });
      await assert.rejects(update(id, { cpuShares: -5n }), { kind: 'invalid-argument' });
    });

    it('is refused by name where the host cannot, and leaves everything as it is', async function () {
      if (limitable) this.skip();
      const id = await create('lacking', 'exec sleep 100');
      for (const state of ['created', 'running']) {
        const before = await shown(id);
        await assert.rejects(
          update(id, { cpuShares: 5n, memoryLimitInBytes: 64n * MIB }),
          { kind: 'failed-precondition', message: /lacks the controllers cpu, memory/ },
          state,
        );
        assert.deepEqual(await shown(id), before);
        // The kubelet forbids every size of huge pages; there is nothing to lose.
        await update(id, { hugepageLimits: [{ pageSize: '2MB', limit: 0n }] });
        if (state === 'created') await start(id);
      }
    });

    it('takes effect in the cgroup, its leaf and the status, created or running', async function () {
      if (!limitable) this.skip();
      const id = await create('limited', 'exec sleep 100', {
        linux: { resources: { memoryLimitInBytes: 128n * MIB, cpuShares: 2n } },
      });
      const folder = join(CGROUP_ROOT, await cgroupOf(id));
      const read = (file: string): string => readFileSync(join(folder, file), 'utf8').trim();
      for (const [memory, quota] of [
        [256n * MIB, 50_000n],
        [64n * MIB, 20_000n],
      ] as const) {
        // Two calls, as by the kubelet.
        await update(id, { memoryLimitInBytes: memory });
        await update(id, { cpuQuota: quota, cpuPeriod: 100_000n, cpuShares: 1024n });
        for (const place of ['', 'lxc/']) {
          assert.equal(read(`${place}memory.max`), String(memory));
          assert.equal(read(`${place}cpu.max`), `${quota} 100000`);
        }
        assert.equal(read('cpu.weight'), '39');
        const now = (await shown(id))?.resources?.linux;
        assert.deepEqual(
          [now?.memoryLimitInBytes, now?.cpuQuota, now?.cpuPeriod, now?.cpuShares],
          [memory, quota, 100_000n, 1024n],
        );
        await start(id);
      }
      await update(id, { unified: new Map([['memory.high', String(60n * MIB)]]) });
      assert.equal(read('memory.high'), String(60n * MIB));
      await agent.stop('SIGKILL');
      await agent.start();
      assert.equal((await shown(id))?.resources?.linux?.memoryLimitInBytes, 64n * MIB);
    });

    it('is all undone when the kernel refuses the last of it', async function () {
      if (!limitable) this.skip();
      const id = await create('refused', 'exec sleep 100');
      const folder = join(CGROUP_ROOT, await cgroupOf(id));
      const files = ['memory.max', 'cpu.weight', 'cpu.max', 'memory.high'];
      const read = () => files.map((file) => readFileSync(join(folder, file), 'utf8'));
      const before = read();
      await assert.rejects(
        update(id, {
          memoryLimitInBytes: 64n * MIB,
          cpuShares: 1024n,
          unified: new Map([
            ['memory.high', String(60n * MIB)],
            ['memory.oom.group', '7'],
          ]),
        }),
        { kind: 'invalid-argument', message: /cannot set memory.oom.group/ },
      );
      assert.deepEqual(read(), before);
    });

    it('below the memory in use is refused, unless that can go', async function () {
      if (!limitable) this.skip();
      // What lies in a tmpfs cannot go without swap; of a file on disk it can.
      const onDisk = statfsSync(agent.folder).type !== TMPFS_MAGIC;
      const id = await create(
        'full',
        'dd if=/dev/zero of=/dev/shm/x bs=1M count=48; exec sleep 100',
      );
      await start(id);
      const folder = join(CGROUP_ROOT, await cgroupOf(id));
      const usage = () => Number(readFileSync(join(folder, 'memory.current'), 'utf8'));
      for (const end = Date.now() + 30_000; usage() < 48 * 2 ** 20 && Date.now() < end;)
        await sleep(50);
      await update(id, { unified: new Map([['memory.swap.max', '0']]) });
      await assert.rejects(update(id, { memoryLimitInBytes: 16n * MIB }), {
        kind: 'failed-precondition',
        message: /below the \d+ bytes in use/,
      });
      assert.equal((await shown(id))?.state, ContainerState.CONTAINER_RUNNING);
      await agent.client.runtime.execSync({
        containerId: id,
        cmd: shell(
          onDisk ? 'rm /dev/shm/x; dd if=/dev/zero of=/file bs=1M count=48; sync' : 'rm /dev/shm/x',
        ),
        timeout: 60n,
      });
      if (onDisk) assert.ok(usage() > 16 * 2 ** 20);
      await update(id, { memoryLimitInBytes: 16n * MIB });
      assert.equal((await shown(id))?.state, ContainerState.CONTAINER_RUNNING);
    });
  });

  it('of a pod is noted, shown, and in force where the cgroup is our own', async () => {
    const linux = (limits: Limits) => LinuxContainerResources.fromPartial(limits);
    const { runtime } = agent.client;
    await runtime.updatePodSandboxResources({
      podSandboxId: pod,
      overhead: linux({ memoryLimitInBytes: MIB }),
      resources: linux({ memoryLimitInBytes: 500n * MIB, cpuQuota: 150_000n }),
    });
    const { info } = await runtime.podSandboxStatus({ podSandboxId: pod, verbose: true });
    const record = JSON.parse(info.get('info') ?? '') as Record<string, unknown> & {
      cgroup: string;
    };
    const { overhead, resources } = record as Record<string, Record<string, unknown>>;
    assert.equal(overhead?.['memoryLimitBytes'], 2 ** 20);
    assert.deepEqual(
      [resources?.['memoryLimitBytes'], resources?.['cpuQuota']],
      [500 * 2 ** 20, 150_000],
    );
    if (limitable) {
      const read = (file: string): string =>
        readFileSync(join(CGROUP_ROOT, record.cgroup, file), 'utf8').trim();
      assert.deepEqual(
        [read('memory.max'), read('cpu.max')],
        [String(501n * MIB), '150000 100000'],
      );
    }
    await assert.rejects(
      runtime.updatePodSandboxResources({
        podSandboxId: 'f'.repeat(64),
        overhead: undefined,
        resources: undefined,
      }),
      { kind: 'not-found' },
    );
  });

  it("takes the node's pod addresses, and shows them", async () => {
    const { runtime } = agent.client;
    const tell = (podCidr: string) =>
      runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });
    await tell('10.244.3.0/24,fd00:3::/64');
    await assert.rejects(tell('10.244.3.0/240'), {
      kind: 'invalid-argument',
      message: /"10.244.3.0\/240" is no network/,
    });
    const { info } = await runtime.status({ verbose: true });
    assert.equal(info.get('podCidrs'), '["10.244.3.0/24","fd00:3::/64"]');
    await runtime.updateRuntimeConfig({ runtimeConfig: undefined });
  });
});
