/** Changes of containers that are there, as plugins ask for them: limits, and ends. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ContainerState } from '../../../src/cri/gen/container.js';
import { LinuxContainerResources } from '../../../src/cri/gen/resources.js';
import { CGROUP_ROOT } from '../../support/agent.js';
import { NriAgent } from '../../support/nri-agent.js';

/** A limit that any host takes: of huge pages none is the same as no controller. */
const HARMLESS = { hugepageLimits: [{ pageSize: '2MB', limit: 0n }] };
const controllers = readFileSync(join(CGROUP_ROOT, 'cgroup.controllers'), 'utf8').trim().split(' ');
const MIB = 2n ** 20n;

describe('NRI updates', function () {
  this.timeout(120_000);
  const nri = new NriAgent();
  const { agent, client } = nri;

  before(() => nri.start());
  afterEach(() => nri.clear());
  after(async () => {
    assert.deepEqual(await nri.close(), []);
  });

  const limits = async (id: string) => (await client.status(id)).resources?.linux;
  const hugepages = async (id: string) =>
    (await limits(id))?.hugepageLimits.map(({ pageSize }) => pageSize) ?? [];
  const update = (
    containerId: string,
    change: Parameters<typeof LinuxContainerResources.fromPartial>[0],
  ) =>
    agent.client.runtime.updateContainerResources({
      containerId,
      linux: LinuxContainerResources.fromPartial(change),
      windows: undefined,
      annotations: new Map(),
    });

  it('change what a caller asked for, and other containers with it', async () => {
    const pod = await client.run('update');
    const other = await client.begin(pod, 'exec sleep 100');
    const id = await client.begin(pod, 'exec sleep 100');
    const asked: (string | undefined)[] = [];
    const plugin = await nri.plug('10-update', {
      update: ({ linuxResources }) => {
        asked.push(linuxResources?.hugepageLimits[0]?.pageSize);
        return {
          update: [
            {
              containerId: id,
              linux: { resources: { hugepageLimits: [{ pageSize: '1GB', limit: 0n }] } },
            },
            { containerId: other, linux: { resources: HARMLESS } },
          ],
        };
      },
    });
    await nri.plug('20-after', {
      update: ({ linuxResources }) => {
        asked.push(...(linuxResources?.hugepageLimits.map(({ pageSize }) => pageSize) ?? []));
        return {};
      },
    });
    await update(id, HARMLESS);
    assert.deepEqual(asked, ['2MB', '2MB', '1GB']);
    assert.deepEqual(await hugepages(id), ['2MB', '1GB']);
    assert.deepEqual(await hugepages(other), ['2MB']);
    assert.deepEqual(plugin.events(id), ['UpdateContainer', 'PostUpdateContainer']);
  });

  it('take effect in the cgroup, asked for at creation, later and unasked', async function () {
    if (!controllers.includes('memory')) this.skip();
    const memory = (limit: bigint) => ({ memory: { limit: { value: limit * MIB } } });
    const plugin = await nri.plug('10-limits', {
      create: () => ({
        adjust: { linux: { resources: { ...memory(64n), pids: { limit: 99n } } } },
      }),
    });
    const pod = await client.run('limits');
    const id = await client.begin(pod, 'exec sleep 100');
    const { info } = await agent.client.runtime.containerStatus({ containerId: id, verbose: true });
    const { cgroup } = JSON.parse(info.get('info') ?? '') as { cgroup: string };
    const read = (file: string) => readFileSync(join(CGROUP_ROOT, cgroup, file), 'utf8').trim();
    assert.equal(read('memory.max'), String(64n * MIB));
    assert.equal(read('pids.max'), '99');
    assert.equal((await limits(id))?.memoryLimitInBytes, 64n * MIB);
    const change = { containerId: id, linux: { resources: memory(96n) } };
    assert.deepEqual(await plugin.updateContainers({ update: [change] }), []);
    assert.equal(read('memory.max'), String(96n * MIB));
  });

  it('are asked for unasked: those that fail are named, the others are made', async () => {
    const pod = await client.run('unasked');
    const id = await client.begin(pod, 'exec sleep 100');
    const ended = await client.begin(pod, 'exit 0');
    await client.ended(ended);
    const plugin = await nri.plug('10-unasked');
    const failed = await plugin.updateContainers({
      update: [
        { containerId: ended, linux: { resources: HARMLESS } },
        { containerId: 'f'.repeat(64), linux: { resources: HARMLESS } },
        { containerId: id.slice(0, 12), linux: { resources: HARMLESS } },
        { containerId: id, linux: { resources: HARMLESS } },
      ],
    });
    assert.deepEqual(failed, [ended, 'f'.repeat(64), id.slice(0, 12)]);
    assert.deepEqual(await hugepages(id), ['2MB']);
    await assert.rejects(
      plugin.updateContainers({
        update: [{ containerId: id, linux: { resources: { rdtClass: { value: 'x' } } } }],
      }),
      /rdt_class, which pvecri does not support/,
    );
  });

  it('come with the making and the end of another container, and with a plugin itself', async () => {
    const pod = await client.run('others');
    const id = await client.begin(pod, 'exec sleep 100');
    const limit = (pages: bigint) => ({
      update: [
        {
          containerId: id,
          linux: { resources: { hugepageLimits: [{ pageSize: '2MB', limit: pages * 2n * MIB }] } },
        },
      ],
    });
    const plugin = await nri.plug('10-others', {
      synchronize: () => limit(1n),
      create: () => limit(2n),
      stop: () => limit(3n),
    });
    const until = async (pages: bigint) => {
      let now: bigint | undefined;
      const look = setInterval(() => {
        void limits(id).then((linux) => (now = linux?.hugepageLimits[0]?.limit));
      }, 20);
      try {
        await plugin.until(() => now === pages * 2n * MIB, `obeyed: ${pages}`);
      } finally {
        clearInterval(look);
      }
    };
    await until(1n);
    const other = await client.create(pod, 'exit 0');
    assert.equal((await limits(id))?.hugepageLimits[0]?.limit, 4n * MIB);
    await client.start(other);
    await until(3n);
    const { info } = await agent.client.runtime.containerStatus({ containerId: id, verbose: true });
    const { cgroup } = JSON.parse(info.get('info') ?? '') as { cgroup: string };
    if (!controllers.includes('hugetlb')) return;
    const file = join(CGROUP_ROOT, cgroup, 'hugetlb.2MB.max');
    assert.equal(readFileSync(file, 'utf8').trim(), String(6n * MIB));
  });

  it('end a container, with its reason in the log, and not one that is being made', async () => {
    const pod = await client.run('evict');
    const id = await client.begin(pod, 'exec sleep 100');
    const plugin = await nri.plug('10-evict', {
      create: (made) => ({ update: [{ containerId: made.id, linux: { resources: HARMLESS } }] }),
    });
    await plugin.updateContainers({ evict: [{ containerId: id, reason: 'no room here' }] });
    assert.equal((await client.status(id)).state, ContainerState.CONTAINER_EXITED);
    assert.match(agent.output, /10-evict: no room here/);
    await assert.rejects(client.create(pod, 'true'), /which is only being made: it must adjust it/);
  });

  it('of two plugins for one limit are refused, naming both', async () => {
    const pod = await client.run('conflict');
    const id = await client.begin(pod, 'exec sleep 100');
    for (const name of ['10-one', '20-two']) {
      await nri.plug(name, {
        update: () => ({ update: [{ containerId: id, linux: { resources: HARMLESS } }] }),
      });
    }
    await assert.rejects(
      update(id, { hugepageLimits: [{ pageSize: '1GB', limit: 0n }] }),
      /10-one and 20-two both set HugepageLimits "2MB"/,
    );
    assert.deepEqual(await hugepages(id), []);
  });

  it('of two containers for each other, at once, do not wait for each other', async () => {
    const pod = await client.run('cross');
    const a = await client.begin(pod, 'exec sleep 100');
    const b = await client.begin(pod, 'exec sleep 100');
    const plugin = await nri.plug('10-cross', {
      update: ({ container }) => ({
        update: [{ containerId: container?.id === a ? b : a, linux: { resources: HARMLESS } }],
      }),
    });
    const gigabyte = { hugepageLimits: [{ pageSize: '1GB', limit: 0n }] };
    await Promise.all([a, b, a, b].map((id) => update(id, gigabyte)));
    assert.deepEqual((await hugepages(a)).sort(), ['1GB', '2MB']);
    assert.equal(plugin.isClosed, false);
  });
});
