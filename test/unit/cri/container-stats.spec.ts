/** Figures of a container as the kubelet defines them. */
import assert from 'node:assert/strict';
import { toContainerStats } from '../../../src/cri/convert-container-status.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import type { CgroupStats } from '../../../src/core/ports.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

describe('toContainerStats', () => {
  const memory = async (figures: Partial<CgroupStats>) => {
    const node = new FakeNode();
    node.addImage('busybox', { cmd: ['true'] });
    const context = node.context();
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod));
    const stats = toContainerStats({
      container: context.objects.container(id),
      cgroup: { timestamp: 1n, ...figures },
      nanoCores: undefined,
      writableLayer: { timestamp: 1n, usedBytes: 0, inodesUsed: 0 },
      mountpoint: '/',
    });
    return [
      stats.memory?.workingSetBytes?.value,
      stats.memory?.availableBytes?.value,
      stats.cpu?.usageCoreNanoSeconds?.value,
    ];
  };

  it('takes what the kernel can drop at once off the working set, never below zero', async () => {
    const limit = { memoryLimitBytes: 1000, cpuUsageMicros: 7 };
    assert.deepEqual(await memory({ memoryBytes: 300, inactiveFileBytes: 100, ...limit }), [
      200n,
      800n,
      7000n,
    ]);
    const [set, available] = await memory({ memoryBytes: 50, inactiveFileBytes: 100, ...limit });
    assert.deepEqual([set, available], [0n, 1000n]);
    const [, over] = await memory({ memoryBytes: 2000, inactiveFileBytes: 0, ...limit });
    assert.equal(over, 0n);
  });

  it('leaves out what is not known', async () => {
    assert.deepEqual(await memory({}), [undefined, undefined, undefined]);
  });
});
