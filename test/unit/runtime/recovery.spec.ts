// A new life of the agent: what it finds, and what it makes of a life that ended between any two steps.
import assert from 'node:assert/strict';
import { createContainer } from '../../../src/runtime/container-create.js';
import { removeContainer } from '../../../src/runtime/container-remove.js';
import { startContainer } from '../../../src/runtime/container-start.js';
import { stopContainer } from '../../../src/runtime/container-stop.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { recover } from '../../../src/runtime/recovery.js';
import { removeSandbox } from '../../../src/runtime/sandbox-remove.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { stopSandbox } from '../../../src/runtime/sandbox-stop.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

async function reborn(node: FakeNode): Promise<RuntimeContext> {
  const context = node.context();
  await recover(context);
  return context;
}

function nodeWithImage(): FakeNode {
  const node = new FakeNode();
  node.addImage('busybox');
  return node;
}

describe('recovery', () => {
  it('finds pods and containers in the state they are in', async () => {
    const node = nodeWithImage();
    const before = node.context();
    const pod = await runSandbox(before, sandboxRequest());
    const make = (name: string) =>
      createContainer(before, containerRequest(pod, { metadata: { name, attempt: 0 } }));
    const [created, running, gone] = [await make('a'), await make('b'), await make('c')];
    await startContainer(before, running);
    await startContainer(before, gone);
    node.exit(gone, 3);

    const after = await reborn(node);
    assert.equal(after.objects.sandbox(pod).ready, true);
    assert.equal(after.objects.container(created).life.state, 'created');
    assert.deepEqual(after.objects.container(running).life, {
      state: 'running',
      pid: 4242,
      startedAt: 5n,
    });
    const { life } = after.objects.container(gone);
    assert.equal(life.state === 'exited' && life.exit.exitCode, 3);
    // And goes on from there.
    node.exit(running, 4);
    await after.objects.container(running).ended;
    assert.equal(after.objects.container(running).life.state, 'exited');
    await removeSandbox(after, pod);
    assert.deepEqual(node.left(), []);
  });

  it('takes a rebooted node for what it is', async () => {
    const node = nodeWithImage();
    const before = node.context();
    const pod = await runSandbox(before, sandboxRequest());
    const id = await createContainer(before, containerRequest(pod));
    await startContainer(before, id);
    node.bootId = 'boot-2';
    node.pinned.clear();
    node.shims.clear();
    const after = await reborn(node);
    assert.equal(after.objects.sandbox(pod).ready, false);
    const { life } = after.objects.container(id);
    assert.ok(life.state === 'exited');
    assert.equal(life.exit.exitCode, 255);
    assert.match(life.exit.message, /rebooted/);
    const again = await reborn(node);
    assert.equal(life.exit.startedAt, 5n);
    assert.deepEqual(again.objects.container(id).life, life);
    await removeSandbox(again, pod);
    assert.deepEqual(node.left(), []);
  });

  it('is not ready when a namespace is missing', async () => {
    const node = nodeWithImage();
    const pod = await runSandbox(node.context(), sandboxRequest());
    node.pinned.get(pod)?.delete('net');
    assert.equal((await reborn(node)).objects.sandbox(pod).ready, false);
  });

  it('removes what has no record', async () => {
    const node = nodeWithImage();
    const id = 'a'.repeat(64);
    node.attached.add(id);
    node.pinned.set(id, new Set(['net']));
    node.rootfs.add(id);
    node.cgroups.add(`/pvecri/pod/${id}`);
    await reborn(node);
    assert.deepEqual(node.left(), []);
  });

  // kill -9 before the n-th port call of each verb: the calls before it stand, nothing after happens.
  const verbs: [string, (context: RuntimeContext, ids: Ids) => Promise<unknown>][] = [
    [
      'RunPodSandbox',
      (c) =>
        runSandbox(
          c,
          sandboxRequest({
            hostname: 'second',
            namespaces: { network: 'pod', pid: 'pod', ipc: 'pod', targetId: '' },
            metadata: { name: 'second', uid: 'u', namespace: 'n', attempt: 0 },
          }),
        ),
    ],
    [
      'CreateContainer',
      (c, { pod }) =>
        createContainer(c, containerRequest(pod, { metadata: { name: 'second', attempt: 0 } })),
    ],
    ['StartContainer', (c, { created }) => startContainer(c, created)],
    ['StopContainer', (c, { running }) => stopContainer(c, running, 1)],
    ['RemoveContainer', (c, { running }) => removeContainer(c, running)],
    ['StopPodSandbox', (c, { pod }) => stopSandbox(c, pod)],
    ['RemovePodSandbox', (c, { pod }) => removeSandbox(c, pod)],
  ];
  interface Ids {
    pod: string;
    created: string;
    running: string;
  }
  for (const [name, verb] of verbs) {
    it(`survives a kill at every step of ${name}`, async () => {
      let steps = 0;
      for (let killAt = 1; ; killAt++) {
        const node = nodeWithImage();
        const context = node.context();
        const namespaces = { network: 'pod', pid: 'pod', ipc: 'pod', targetId: '' } as const;
        const pod = await runSandbox(context, sandboxRequest({ namespaces }));
        const created = await createContainer(context, containerRequest(pod));
        const running = await createContainer(
          context,
          containerRequest(pod, { metadata: { name: 'run', attempt: 0 } }),
        );
        await startContainer(context, running);
        const ids = { pod, created, running };

        const done = await killedAt(node, killAt, () => verb(context, ids));
        const after = await reborn(node);
        for (const each of [pod]) {
          if (after.objects.findSandbox(each)) await removeSandbox(after, each);
        }
        for (const { id } of [...after.objects.sandboxes()]) await removeSandbox(after, id);
        assert.deepEqual(node.left(), [], `${name} killed before step ${killAt}`);
        assert.ok(after.objects.isEmpty());
        if (done) break;
        steps = killAt;
      }
      assert.ok(steps >= 1, 'the verb was really killed somewhere');
    });
  }
});

/** True when the work ended before the n-th call; otherwise it hangs for ever, as a killed agent does. */
async function killedAt(node: FakeNode, n: number, work: () => Promise<unknown>): Promise<boolean> {
  let count = 0;
  let dead = false;
  const killed = new Promise<'killed'>((resolve) => {
    node.beforeCall = () => {
      if (!dead && ++count === n) {
        dead = true;
        resolve('killed');
      }
      // Thrown inside the port: the undo of a dead agent must not happen either.
      if (dead) throw new Error('the agent is dead');
    };
  });
  const result = await Promise.race([
    work().then(
      () => 'done',
      () => 'failed',
    ),
    killed,
  ]);
  // Let the dead agent's rejections run out before the next life begins.
  await new Promise((resolve) => setTimeout(resolve, 5));
  node.beforeCall = () => undefined;
  return result === 'done';
}
