/** Figures of containers and pods as the kubelet defines them, and never a hole where it does not look. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { toContainerStats, toSandboxStats } from '../../../src/cri/convert-stats.js';
import { EncodedStats } from '../../../src/cri/encoded-stats.js';
import { ListContainerStatsResponse } from '../../../src/cri/gen/stats.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { StatsCollector } from '../../../src/runtime/stats.js';
import { stopSandbox } from '../../../src/runtime/sandbox-stop.js';
import type { CgroupStats } from '../../../src/core/ports/cgroup.js';
import type { InterfaceUsage } from '../../../src/core/ports/network.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

const line = (total: number) => ({ avg10: 1.5, avg60: 2, avg300: 3, total });
const ALL: CgroupStats = {
  timestamp: 7n,
  cpuUsageMicros: 7,
  memoryBytes: 300,
  inactiveFileBytes: 100,
  anonBytes: 50,
  pageFaults: 8,
  majorPageFaults: 1,
  swapBytes: 20,
  memoryLimitBytes: 1000,
  swapLimitBytes: 50,
  processes: 3,
  cpuPressure: { some: line(5), full: line(4) },
  memoryPressure: { some: line(3), full: line(2) },
  ioPressure: { some: line(1), full: line(0) },
};

const link = (name: string, rxBytes = 1): InterfaceUsage => ({
  name,
  rxBytes,
  rxErrors: 2,
  txBytes: 3,
  txErrors: 4,
});

describe('statistics', () => {
  let node: FakeNode;
  let context: RuntimeContext;
  let collector: StatsCollector;
  let pod: string;
  let id: string;

  beforeEach(async () => {
    node = new FakeNode();
    node.addImage('busybox', { cmd: ['true'] });
    context = node.context();
    collector = new StatsCollector(context);
    pod = await runSandbox(context, sandboxRequest({ annotations: [['a', 'b']] }));
    id = await createContainer(context, containerRequest(pod, { labels: [['l', 'm']] }));
  });

  const ofContainer = async (figures?: CgroupStats) => {
    if (figures) node.stats.set(id, figures);
    const [usage] = await collector.containers([context.objects.container(id)]);
    assert.ok(usage);
    return toContainerStats(usage);
  };
  const ofPod = async (pods = [pod]) => {
    const usages = await collector.sandboxes(pods.map((each) => context.objects.sandbox(each)));
    return usages.map(toSandboxStats);
  };

  it('take what the kernel can drop at once off the working set, never below zero', async () => {
    const set = async (figures: Partial<CgroupStats>) => {
      const { memory } = await ofContainer({ timestamp: 1n, memoryLimitBytes: 1000, ...figures });
      return [memory?.workingSetBytes?.value, memory?.availableBytes?.value];
    };
    assert.deepEqual(await set({ memoryBytes: 300, inactiveFileBytes: 100 }), [200n, 800n]);
    assert.deepEqual(await set({ memoryBytes: 50, inactiveFileBytes: 100 }), [0n, 1000n]);
    assert.deepEqual(await set({ memoryBytes: 2000, inactiveFileBytes: 0 }), [2000n, 0n]);
  });

  it('have all that the kernel tells of a container', async () => {
    const psi = (total: bigint) => ({ Total: total, Avg10: 1.5, Avg60: 2, Avg300: 3 });
    const { attributes, cpu, memory, swap, io, writableLayer } = await ofContainer(ALL);
    assert.equal(attributes?.id, id);
    assert.deepEqual([...attributes.labels], [['l', 'm']]);
    assert.deepEqual(cpu, {
      timestamp: 7n,
      usageCoreNanoSeconds: { value: 7000n },
      usageNanoCores: undefined,
      psi: { Some: psi(5000n), Full: psi(4000n) },
    });
    assert.deepEqual([memory?.pageFaults?.value, memory?.majorPageFaults?.value], [8n, 1n]);
    assert.deepEqual(memory?.psi, { Some: psi(3000n), Full: psi(2000n) });
    assert.deepEqual(swap, {
      timestamp: 7n,
      swapAvailableBytes: { value: 30n },
      swapUsageBytes: { value: 20n },
    });
    assert.deepEqual(io, { timestamp: 7n, psi: { Some: psi(1000n), Full: psi(0n) } });
    assert.equal(writableLayer?.fsId?.mountpoint, '/');
  });

  it('leave out what is not known', async () => {
    const { cpu, memory, swap, io } = await ofContainer({ timestamp: 1n });
    assert.deepEqual(
      [cpu?.usageCoreNanoSeconds, cpu?.psi, memory?.workingSetBytes, memory?.psi, swap, io],
      [undefined, undefined, undefined, undefined, undefined, undefined],
    );
    assert.equal((await ofContainer()).attributes?.id, id);
  });

  it('of a pod hold its own, those of its containers, and its network', async () => {
    node.stats.set(pod, ALL);
    node.stats.set(id, ALL);
    const interfaces = [link('net1'), link('eth0', 9)];
    node.interfaces.set(pod, { timestamp: 5n, interfaces });
    const [stats] = await ofPod();
    assert.deepEqual(stats?.attributes?.metadata, context.objects.sandbox(pod).record.metadata);
    assert.deepEqual([...stats.attributes.labels], [['app', 'web']]);
    const { linux } = stats;
    assert.equal(linux?.process?.processCount?.value, 3n);
    assert.equal(linux.memory?.usageBytes?.value, 300n);
    assert.equal(linux.network?.timestamp, 5n);
    assert.deepEqual(linux.network.defaultInterface, {
      name: 'eth0',
      rxBytes: { value: 9n },
      rxErrors: { value: 2n },
      txBytes: { value: 3n },
      txErrors: { value: 4n },
    });
    assert.deepEqual(
      linux.network.interfaces.map(({ name }) => name),
      ['net1'],
    );
    assert.deepEqual(
      linux.containers.map(({ attributes }) => attributes?.id),
      [id],
    );
  });

  it('of a pod have no network where that is the host’s, and none of a pod that is not ready', async () => {
    const host = await runSandbox(
      context,
      sandboxRequest({
        metadata: { name: 'h', uid: 'h', namespace: 'h', attempt: 0 },
        namespaces: { network: 'node', pid: 'container', ipc: 'pod', targetId: '' },
      }),
    );
    node.interfaces.set(host, { timestamp: 5n, interfaces: [link('eth0')] });
    assert.deepEqual(
      (await ofPod([host, pod])).map(({ linux }) => linux?.network),
      [undefined, undefined],
    );
    await stopSandbox(context, pod);
    assert.equal((await ofPod([pod])).length, 0);
  });

  it('never lack what the kubelet takes for granted', async () => {
    const figure = fc.option(fc.nat(), { nil: undefined });
    const some = fc.record({
      cpuUsageMicros: figure,
      memoryBytes: figure,
      processes: figure,
      swapBytes: figure,
      memoryLimitBytes: figure,
    });
    const names = fc.option(fc.array(fc.constantFrom('eth0', 'net1', 'tunl0'), { maxLength: 3 }));
    await fc.assert(
      fc.asyncProperty(fc.option(some), fc.option(some), names, async (ours, theirs, links) => {
        const known = (figures: object): CgroupStats => ({
          timestamp: 1n,
          ...Object.fromEntries(Object.entries(figures).filter(([, v]) => v !== undefined)),
        });
        node.stats.clear();
        node.interfaces.clear();
        if (ours) node.stats.set(pod, known(ours));
        if (theirs) node.stats.set(id, known(theirs));
        if (links) {
          node.interfaces.set(pod, { timestamp: 1n, interfaces: links.map((l) => link(l)) });
        }
        const [stats] = await ofPod();
        assert.ok(stats?.attributes?.metadata && stats.linux);
        const { network, containers } = stats.linux;
        if (network) assert.ok(network.defaultInterface?.rxBytes && network.timestamp > 0n);
        for (const each of containers) {
          assert.ok(each.attributes?.metadata && each.writableLayer?.fsId);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('leave as bytes the same as one by one', async () => {
    const other = await createContainer(
      context,
      containerRequest(pod, { metadata: { name: 'other', attempt: 0 } }),
    );
    const encoded = new EncodedStats();
    for (const figures of [ALL, { ...ALL, memoryBytes: 5 }]) {
      node.stats.set(id, figures);
      const usages = await collector.containers([
        context.objects.container(id),
        context.objects.container(other),
      ]);
      const decoded = ListContainerStatsResponse.decode(encoded.response(usages));
      const whole = { stats: usages.map(toContainerStats) };
      assert.deepEqual(
        decoded,
        ListContainerStatsResponse.decode(ListContainerStatsResponse.encode(whole).finish()),
      );
      assert.equal(decoded.stats[0]?.memory?.usageBytes?.value, BigInt(figures.memoryBytes ?? 0));
    }
    assert.equal(encoded.response([]).length, 0);
  });
});
