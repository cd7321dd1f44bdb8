/** UpdateContainerResources and UpdatePodSandboxResources: all or nothing, also over a kill. */
import assert from 'node:assert/strict';
import { RuntimeError } from '../../../src/core/errors.js';
import { NO_LIMITS } from '../../../src/core/resource-change.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import { startContainer } from '../../../src/runtime/container-start.js';
import { updateContainer } from '../../../src/runtime/container-update.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { recover } from '../../../src/runtime/recovery.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { updateSandbox } from '../../../src/runtime/sandbox-update.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

const kind = (expected: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof RuntimeError, String(error));
  assert.equal(error.kind, expected, error.message);
  assert.match(error.message, text);
  return true;
};
const MIB = 2 ** 20;
const START = { ...NO_LIMITS, cpuShares: 2, memoryLimitBytes: 100 * MIB };

describe('changing limits', () => {
  let node: FakeNode;
  let context: RuntimeContext;
  let pod: string;
  let id: string;

  beforeEach(async () => {
    node = new FakeNode();
    node.addImage('busybox', { cmd: ['true'] });
    context = node.context();
    pod = await runSandbox(context, sandboxRequest());
    id = await createContainer(context, containerRequest(pod, { resources: START }));
  });

  const outer = () => context.objects.container(id).record.cgroup.outer;
  const set = (file: string) => node.settings.get(`${outer()}/${file}`);
  const inForce = () => context.objects.container(id).record.resources;
  const stored = () => node.containerRecords.get(id);

  it('writes, mirrors, records and shows what is given, and leaves the rest', async () => {
    const { revision } = context.objects.container(id);
    await updateContainer(context, id, { ...NO_LIMITS, memoryLimitBytes: 50 * MIB });
    await startContainer(context, id);
    await updateContainer(context, id, { ...NO_LIMITS, cpuQuota: 20_000 });
    assert.deepEqual(
      [set('memory.max'), set('lxc/memory.max'), set('cpu.max'), set('lxc/cpu.max')],
      [String(50 * MIB), String(50 * MIB), '20000 100000', '20000 100000'],
    );
    assert.equal(
      set('lxc/cpu.weight'),
      undefined,
      'the payload does not compete with anybody there',
    );
    const expected = { ...START, memoryLimitBytes: 50 * MIB, cpuQuota: 20_000 };
    assert.deepEqual(inForce(), expected);
    assert.deepEqual([stored()?.resources, stored()?.resize], [expected, null]);
    assert.ok(context.objects.container(id).revision > revision);
  });

  it('puts everything back when the kernel refuses one', async () => {
    node.failures.set(
      'cgroups.write cpu.max 20000 100000',
      new RuntimeError('invalid-argument', 'EINVAL'),
    );
    const before = set('memory.max');
    await assert.rejects(
      updateContainer(context, id, {
        ...NO_LIMITS,
        cpuQuota: 20_000,
        memoryLimitBytes: 50 * MIB,
      }),
      kind('invalid-argument', new RegExp(`container ${id}: cannot change its limits: EINVAL`)),
    );
    assert.equal(set('memory.max'), before);
    assert.deepEqual([inForce(), stored()?.resources, stored()?.resize], [START, START, null]);
  });

  it('puts the limits back when the record cannot be saved', async () => {
    let saves = 0;
    node.beforeCall = (name) => {
      if (name === 'store.saveContainer' && ++saves === 2) throw new Error('disk full');
    };
    const before = set('memory.max');
    await assert.rejects(
      updateContainer(context, id, { ...NO_LIMITS, memoryLimitBytes: 50 * MIB }),
      /disk full/,
    );
    assert.equal(set('memory.max'), before);
    assert.deepEqual([stored()?.resources, stored()?.resize], [START, null]);
  });

  it('is refused for what does not exist, has exited, or lacks its controller', async () => {
    const change = { ...NO_LIMITS, cpuShares: 5 };
    await assert.rejects(
      updateContainer(context, 'f'.repeat(64), change),
      kind('not-found', /ffff/),
    );
    await assert.rejects(
      updateContainer(context, id, { ...NO_LIMITS, cpusetCpus: '0', cpuShares: 5 }),
      kind('failed-precondition', /lacks the controllers cpuset/),
    );
    assert.deepEqual(inForce(), START);
    // The kubelet names every size of huge pages, all but those asked for with 0.
    await updateContainer(context, id, {
      ...change,
      hugepages: [{ pageSize: '2MB', limitBytes: 0 }],
    });
    node.exit(id, 0);
    await context.objects.container(id).ended;
    await assert.rejects(
      updateContainer(context, id, change),
      kind('failed-precondition', /has exited/),
    );
  });

  it('is finished, or undone, by the next start after a kill at any step', async () => {
    const change = { ...NO_LIMITS, memoryLimitBytes: 50 * MIB, cpuShares: 1024 };
    const after = {
      ...START,
      ...change,
      hugepages: [],
      unified: [],
      cpusetCpus: '',
      cpusetMems: '',
    };
    const files = () => [set('memory.max'), set('lxc/memory.max'), set('cpu.weight')];
    const old = [String(100 * MIB), undefined, '1'];
    for (const refuses of [false, true]) {
      for (let last = 0; ; last++) {
        node.failures.clear();
        node.beforeCall = () => undefined;
        let calls = 0;
        const killed: string[] = [];
        // As after kill -9: from one call on nothing more is done, not even an undo.
        node.beforeCall = (name) => {
          if (calls++ < last) return;
          killed.push(name);
          throw new Error('killed');
        };
        await updateContainer(context, id, change).catch(() => undefined);
        node.beforeCall = () => undefined;
        if (killed.length === 0) break;
        if (refuses) node.failures.set('cgroups.write cpu.weight 39', new Error('EINVAL'));
        context = node.context();
        await recover(context);
        node.failures.clear();
        assert.equal(stored()?.resize, null, `killed at call ${last}`);
        assert.deepEqual(inForce(), stored()?.resources);
        const done = inForce()?.memoryLimitBytes === 50 * MIB;
        assert.deepEqual(inForce(), done ? after : START);
        if (refuses) assert.ok(!done, `refused, but done at call ${last}`);
        const now = files();
        if (done) assert.deepEqual(now, [String(50 * MIB), String(50 * MIB), '39']);
        else assert.deepEqual([now[0], now[2]], [old[0], old[2]]);
        await updateContainer(context, id, START);
      }
      await updateContainer(context, id, START);
    }
  });

  it('notes those of a pod, and applies them to a cgroup of its own alone', async () => {
    const resources = { ...NO_LIMITS, memoryLimitBytes: 200 * MIB };
    const overhead = { ...NO_LIMITS, memoryLimitBytes: 10 * MIB };
    await updateSandbox(context, pod, { overhead, resources });
    const { record } = context.objects.sandbox(pod);
    assert.equal(node.settings.get(`${record.cgroup}/memory.max`), String(210 * MIB));
    assert.deepEqual(
      [record.overhead, record.resources, record.resize],
      [overhead, resources, null],
    );
    assert.deepEqual(node.sandboxRecords.get(pod), record);
    await updateSandbox(context, pod, { overhead: null, resources: null });
    assert.deepEqual(context.objects.sandbox(pod).record.overhead, overhead);

    const theirs = await runSandbox(
      context,
      sandboxRequest({
        metadata: { name: 'b', uid: 'b', namespace: 'b', attempt: 0 },
        cgroupParent: '/kubepods/podb',
        resources,
      }),
    );
    await updateSandbox(context, theirs, { overhead, resources });
    assert.equal(node.settings.get('/kubepods/podb/memory.max'), undefined);
    assert.deepEqual(node.sandboxRecords.get(theirs)?.overhead, overhead);
    await assert.rejects(
      updateSandbox(context, 'f'.repeat(64), { overhead, resources }),
      kind('not-found', /ffff/),
    );
  });

  it('of a pod are set from the start, without what the host lacks', async () => {
    const other = await runSandbox(
      context,
      sandboxRequest({
        metadata: { name: 'c', uid: 'c', namespace: 'c', attempt: 0 },
        resources: { ...NO_LIMITS, cpuShares: 1024, cpusetCpus: '0' },
      }),
    );
    const { cgroup } = context.objects.sandbox(other).record;
    assert.equal(node.settings.get(`${cgroup}/cpu.weight`), '39');
    assert.ok(node.logged.some((line) => /limits of a pod are not set/.test(line)));
  });
});
