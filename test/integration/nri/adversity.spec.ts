/** NRI when things go wrong or slowly: the agent killed in the middle of every event, and many pods at once. */
import assert from 'node:assert/strict';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { NriAgent } from '../../support/nri-agent.js';
import type { NriPlugin } from '../../support/nri-plugin.js';

const PODS = 100;

describe('NRI under adversity', function () {
  this.timeout(180_000);
  const nri = new NriAgent();
  const { agent, client } = nri;

  before(() => nri.start());
  afterEach(() => nri.clear());
  after(async () => {
    assert.deepEqual(await nri.close(), []);
  });

  it('survives kill -9 of the agent in any event: what was half-made is gone, the verb can be repeated', async () => {
    const steps = [
      'RunPodSandbox',
      'CreateContainer',
      'PostCreateContainer',
      'StartContainer',
      'PostStartContainer',
      'StopContainer',
      'RemoveContainer',
      'StopPodSandbox',
      'RemovePodSandbox',
    ];
    for (const step of steps) {
      const trap = { armed: true };
      const killed = await nri.plug('10-kills', {
        before: async ({ method }) => {
          if (method !== step || !trap.armed) return;
          trap.armed = false;
          await agent.stop('SIGKILL');
          // The call is never answered.
          await new Promise(() => undefined);
        },
      });
      const ids = { pod: '', container: '' };
      let plugin: NriPlugin | undefined;
      const verbs: (() => Promise<unknown>)[] = [
        async () => (ids.pod = await client.run('killed')),
        async () => (ids.container = await client.create(ids.pod, 'exec sleep 100')),
        () => client.start(ids.container),
        () => client.remove(ids.container),
        () => client.stopPod(ids.pod),
        () => client.removePod(ids.pod),
      ];
      for (const verb of verbs) {
        try {
          await verb();
          // An event that nobody waits for may come late.
          if (step === 'StopContainer' && verb === verbs[3]) await killed.closed();
          if (trap.armed || plugin !== undefined) continue;
        } catch (error) {
          assert.ok(!trap.armed, String(error));
        }
        assert.equal(plugin, undefined, `${step}: a verb failed after the restart`);
        await killed.closed();
        await agent.stop('SIGKILL');
        await agent.start();
        plugin = await nri.plug('10-kills');
        const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
        const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
        assert.deepEqual(
          [plugin.synchronized?.pods, plugin.synchronized?.containers.map(({ id }) => id)],
          [items.map(({ id }) => id), containers.map(({ id }) => id)],
          step,
        );
        // What no verb has answered was made for nobody, or not at all.
        if (ids.container === '' && containers[0]) ids.container = containers[0].id;
        else await verb();
      }
      assert.ok(!trap.armed, `${step} did not come`);
      await nri.clear();
      assert.deepEqual(
        agent.left().filter((name) => name !== `cgroup ${agent.cgroup}`),
        [],
        step,
      );
    }
  });

  it('runs many pods at once past a slow plugin, each heard of in order, with lists answered meanwhile', async () => {
    const plugin = await nri.plug('10-slow', {
      before: () => new Promise((resolve) => setTimeout(resolve, 10)),
    });
    const slowest = { list: 0 };
    const looking = setInterval(() => {
      const start = Date.now();
      void agent.client.runtime.listPodSandbox({ filter: undefined }).then(() => {
        slowest.list = Math.max(slowest.list, Date.now() - start);
      });
    }, 50);
    let pods: string[];
    try {
      pods = await Promise.all(
        Array.from({ length: PODS }, (_, i) => client.run(`many-${i}`, {}, NamespaceMode.NODE)),
      );
      await Promise.all(pods.map((pod) => client.removePod(pod)));
    } finally {
      clearInterval(looking);
    }
    assert.equal(plugin.isClosed, false);
    assert.equal(plugin.told.length, 3 * PODS);
    for (const pod of pods) {
      assert.deepEqual(plugin.events(pod), ['RunPodSandbox', 'StopPodSandbox', 'RemovePodSandbox']);
    }
    // Events alone take 3 seconds: a list that waited for them would show.
    assert.ok(slowest.list < 1500, `a list took ${slowest.list} ms`);
  });
});
