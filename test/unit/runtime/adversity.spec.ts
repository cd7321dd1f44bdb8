// Verbs and recovery beside shims that hang, records that cannot be read, and calls that cross.
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { RuntimeError } from '../../../src/core/errors.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import { untilRecorded } from '../../../src/runtime/container-kill.js';
import { removeContainer } from '../../../src/runtime/container-remove.js';
import { startContainer } from '../../../src/runtime/container-start.js';
import { StatsCollector } from '../../../src/runtime/stats.js';
import { stopContainer } from '../../../src/runtime/container-stop.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { removeImage } from '../../../src/runtime/image-remove.js';
import { recover } from '../../../src/runtime/recovery.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { removeSandbox } from '../../../src/runtime/sandbox-remove.js';
import { stopSandbox } from '../../../src/runtime/sandbox-stop.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

describe('adversity', () => {
  let node: FakeNode;
  let context: RuntimeContext;
  let pod: string;
  let id: string;

  beforeEach(async () => {
    node = new FakeNode();
    node.addImage('busybox');
    context = node.context();
    pod = await runSandbox(context, sandboxRequest());
    id = await createContainer(context, containerRequest(pod));
    await startContainer(context, id);
  });

  /** Dead with its processes, but not recorded: what a shim on a hung disk looks like. */
  const hangShim = () => {
    const shim = node.shims.get(id);
    assert.ok(shim);
    shim.state = 'killed';
    return shim;
  };

  it('gives back the network while a shim is still writing, and does not wait for ever', async () => {
    const shim = hangShim();
    const stopped = stopSandbox(context, pod);
    while (node.sandboxRecords.get(pod)?.phase !== 'stopped') await setImmediate();
    assert.deepEqual([...node.attached, ...node.pinned.keys()], []);
    await assert.rejects(untilRecorded(context.objects.container(id), 10), (error) => {
      assert.ok(error instanceof RuntimeError && error.kind === 'deadline-exceeded');
      assert.ok(error.message.includes(id), error.message);
      return true;
    });
    shim.end();
    await stopped;
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
  });

  it('keeps a pod whose undoing failed, for its removal to try again', async () => {
    node.failures.set('network.attach', new Error('no address'));
    node.failures.set('network.detach', new Error('plugin hangs'));
    const metadata = { name: 'second', uid: 'u2', namespace: 'n', attempt: 0 };
    await assert.rejects(runSandbox(context, sandboxRequest({ metadata })), /no address/);
    const kept = [...context.objects.sandboxes()].filter((each) => each.id !== pod);
    assert.deepEqual(
      kept.map((each) => [each.ready, each.record.phase, node.sandboxRecords.get(each.id)?.phase]),
      [[false, 'stopping', 'stopping']],
    );
    node.attached.add(kept[0]!.id);
    await assert.rejects(removeSandbox(context, kept[0]!.id), /plugin hangs/);
    node.failures.clear();
    await removeSandbox(context, kept[0]!.id);
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
  });

  it('keeps a container whose undoing failed, for its removal to try again', async () => {
    node.failures.set('engine.create', new Error('no shim'));
    node.failures.set('rootfs.remove', new Error('disk on fire'));
    const request = containerRequest(pod, { metadata: { name: 'second', attempt: 0 } });
    await assert.rejects(createContainer(context, request), /no shim/);
    node.failures.clear();
    const kept = context.objects.containersOf(context.objects.sandbox(pod).id);
    const { id: second, life } = kept.find((each) => each.id !== id)!;
    assert.ok(life.state === 'exited');
    assert.match(life.exit.message, /could not be created/);
    assert.ok(node.rootfs.has(second));
    const again = node.context();
    await recover(again);
    assert.equal(again.objects.container(second).life.state, 'exited');
    await removeContainer(again, second);
    assert.ok(!node.rootfs.has(second));
    await removeSandbox(again, pod);
    assert.deepEqual(node.left(), []);
  });

  it('sends the stop signal once, and lets a shorter grace end a longer one', async () => {
    const stops = [60_000, 30_000, 20].map((graceMs) => stopContainer(context, id, graceMs));
    await Promise.all(stops);
    assert.deepEqual(node.signals, [[id, 15]]);
    assert.equal(context.objects.container(id).life.state, 'exited');
  });

  it('adopts a repeat whose maps come in another order', async () => {
    const metadata = { name: 'second', uid: 'u2', namespace: 'n', attempt: 0 };
    const labels: [string, string][] = [
      ['a', '1'],
      ['b', '2'],
    ];
    const first = await runSandbox(context, sandboxRequest({ metadata, labels }));
    const swapped = sandboxRequest({ metadata, labels: labels.toReversed() });
    assert.equal(await runSandbox(context, swapped), first);
    const changed = sandboxRequest({ metadata, labels: [['a', '2'], labels[1]!] });
    await assert.rejects(runSandbox(context, changed), /exists already/);
  });

  it('kills a container whose shim takes no signal', async () => {
    node.failures.set('engine.signal', new RuntimeError('deadline-exceeded', 'no answer'));
    await stopContainer(context, id, 60_000);
    assert.equal(context.objects.container(id).life.state, 'exited');
    assert.ok(node.logged.some((line) => line.startsWith('warn: cannot send the stop signal')));
  });

  it('starts beside a shim that does not answer and an exit record that cannot be read', async () => {
    const other = await createContainer(
      context,
      containerRequest(pod, { metadata: { name: 'other', attempt: 0 } }),
    );
    const after = node.context();
    const inspect = after.engine.inspect.bind(after.engine);
    after.engine.inspect = (wanted, ...rest) => {
      if (wanted === id) return Promise.reject(new RuntimeError('data-loss', 'bad record'));
      if (wanted === other) return Promise.reject(new RuntimeError('deadline-exceeded', 'hangs'));
      return inspect(wanted, ...rest);
    };
    await recover(after);
    const { life } = after.objects.container(id);
    assert.equal(life.state === 'exited' && life.exit.exitCode, 255);
    assert.equal(after.objects.container(other).life.state, 'running');
    node.exit(other, 4);
    const exit = await after.objects.container(other).ended;
    assert.equal(exit.exitCode, 4);
  });

  it('leaves a container alone whose sandbox record it cannot read', async () => {
    node.sandboxRecords.delete(pod);
    const after = node.context();
    const load = after.store.load.bind(after.store);
    after.store.load = async () => ({
      ...(await load()),
      unreadable: [{ path: `/root/sandboxes/${pod}/sandbox.json`, reason: 'newer' }],
    });
    await recover(after);
    assert.equal(node.shims.get(id)?.state, 'running');
    assert.ok(node.containerRecords.has(id));
  });

  it('removes no image that a container is being made of, and makes none of one that goes', async () => {
    await removeContainer(context, id);
    const creation = createContainer(context, containerRequest(pod));
    await assert.rejects(removeImage(context, 'busybox'), /being created/);
    id = await creation;
    await removeContainer(context, id);

    const removal = removeImage(context, 'busybox');
    await assert.rejects(createContainer(context, containerRequest(pod)), /is being removed/);
    await removal;
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
  });

  it('asks for no usage of a container that ended during the sweep', async () => {
    let sweep: () => void = () => undefined;
    context.cgroups.stats = () =>
      new Promise((resolve) => {
        sweep = () => {
          resolve(new Map());
        };
      });
    const figures = new StatsCollector(context).containers([context.objects.container(id)]);
    await removeContainer(context, id);
    sweep();
    assert.deepEqual(await figures, []);
  });
});
