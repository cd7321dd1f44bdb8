/** What plugins hear of pods and containers of a real agent, in which order, and what their refusal does. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerState } from '../../../src/nri/gen/container.js';
import { NriAgent } from '../../support/nri-agent.js';
import { NriPlugin, type Told } from '../../support/nri-plugin.js';

describe('NRI events', function () {
  this.timeout(120_000);
  const nri = new NriAgent();
  const { agent, client, socket } = nri;
  const plug: NriAgent['plug'] = (...what) => nri.plug(...what);

  before(() => nri.start());
  afterEach(() => nri.clear());
  after(async () => {
    assert.deepEqual(await nri.close(), []);
  });

  it('tell a whole life, each step once and in order, with names and states', async () => {
    const plugin = await plug('10-life');
    const pod = await client.run('life');
    const id = await client.begin(pod, 'exit 3');
    await client.ended(id);
    await plugin.heard('StopContainer', id);
    await client.remove(id);
    await client.stopPod(pod);
    await client.stopPod(pod);
    await client.removePod(pod);
    await plugin.heard('RemovePodSandbox', pod);
    assert.deepEqual(plugin.events(), [
      'RunPodSandbox',
      'CreateContainer',
      'ValidateContainerAdjustment',
      'PostCreateContainer',
      'StartContainer',
      'PostStartContainer',
      'StopContainer',
      'RemoveContainer',
      'StopPodSandbox',
      'RemovePodSandbox',
    ]);
    const [run, create, , , start, , stop] = plugin.told;
    assert.deepEqual(
      [run?.pod?.name, run?.pod?.namespace, run?.pod?.uid, run?.pod?.labels.get('app')],
      ['life', 'default', 'uid-life', 'life'],
    );
    assert.ok(run?.pod?.ips[0]);
    const network = run.pod.linux?.namespaces.find(({ type }) => type === 'network');
    assert.match(network?.path ?? '', new RegExp(pod));
    assert.equal(create?.container?.id, id);
    assert.deepEqual(create.container.args, ['/bin/sh', '-c', 'exit 3']);
    assert.ok(create.container.env.includes('HOSTNAME=life'));
    assert.equal(start?.container?.state, ContainerState.CONTAINER_CREATED);
    assert.equal(stop?.container?.state, ContainerState.CONTAINER_STOPPED);
    assert.equal(stop.container.exitCode, 3);
  });

  it('call plugins in the order of their indexes', async () => {
    const order: string[] = [];
    const note = (name: string) => ({
      before: ({ method }: Told) => {
        if (method === 'RunPodSandbox') order.push(name);
      },
    });
    await plug('90-last', note('last'));
    await plug('05-first', note('first'));
    await plug('50-middle', note('middle'));
    await client.run('order');
    assert.deepEqual(order, ['first', 'middle', 'last']);
  });

  it('show nobody a pod or container before plugins have heard of it, and let them refuse it', async () => {
    let seen = 0;
    let refuses = true;
    const plugin = await plug('10-gate', {
      before: async ({ method }) => {
        if (method === 'RunPodSandbox') {
          seen += (await agent.client.runtime.listPodSandbox({ filter: undefined })).items.length;
        } else if (method === 'CreateContainer') {
          const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
          seen += containers.length;
        }
        if (refuses && /^(Run|Create)/.test(method)) throw new Error('not on my watch');
      },
    });
    await assert.rejects(client.run('gate'), /10-gate refused RunPodSandbox: not on my watch/);
    assert.deepEqual(agent.left(), [`cgroup ${agent.cgroup}`]);
    assert.deepEqual(plugin.events(), ['RunPodSandbox', 'StopPodSandbox', 'RemovePodSandbox']);
    refuses = false;
    const pod = await client.run('gate');
    refuses = true;
    await assert.rejects(client.create(pod, 'true'), /10-gate refused CreateContainer/);
    assert.equal(
      (await agent.client.runtime.listContainers({ filter: undefined })).containers.length,
      0,
    );
    refuses = false;
    await client.begin(pod, 'sleep 100');
    assert.equal(seen, 0);
  });

  it('come before the network of a pod goes, when its containers have ended', async () => {
    const states: (number | undefined)[] = [];
    const plugin = await plug('10-stop', {
      before: async ({ method, pod }) => {
        if (method !== 'StopPodSandbox' || !pod) return;
        const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
        states.push(
          ...containers.map(({ state }) => state),
          (await client.podStatus(pod.id)).network?.ip.length,
        );
      },
    });
    const pod = await client.run('stop');
    await client.begin(pod, 'sleep 100');
    await client.stopPod(pod);
    assert.equal(states[0], 2);
    assert.ok((states[1] ?? 0) > 0);
    await client.removePod(pod);
    await plugin.heard('RemovePodSandbox');
    assert.deepEqual(plugin.events().slice(-4), [
      'StopContainer',
      'StopPodSandbox',
      'RemoveContainer',
      'RemovePodSandbox',
    ]);
  });

  it('lose no pod and no container of a plugin that comes meanwhile, also after a restart', async () => {
    const pod = await client.run('late');
    const early = await client.begin(pod, 'sleep 100');
    let during: Promise<string> | undefined;
    const late = await plug('20-late', {
      before: async ({ method }) => {
        if (method !== 'Synchronize') return;
        during = client.begin(pod, 'sleep 100');
        await sleep(300);
      },
    });
    assert.ok(during);
    const added = await during;
    assert.deepEqual(late.synchronized?.pods, [pod]);
    const known = [
      ...late.synchronized.containers.map(({ id }) => id),
      ...late.told.filter(({ method }) => method === 'CreateContainer').map((t) => t.container?.id),
    ];
    assert.deepEqual(new Set(known), new Set([early, added]));
    assert.equal(known.length, 2);

    const restart = agent.stop();
    await late.closed();
    await restart;
    await agent.start();
    const again = await plug('20-late');
    assert.deepEqual(again.synchronized?.pods, [pod]);
    assert.deepEqual(
      new Set(again.synchronized.containers.map(({ id }) => id)),
      new Set([early, added]),
    );
    assert.ok(
      again.synchronized.containers.every((c) => c.state === ContainerState.CONTAINER_RUNNING),
    );
    assert.deepEqual(again.synchronized.containers[0]?.args.slice(0, 2), ['/bin/sh', '-c']);
  });

  it('reach a plugin of an older NRI as state changes', async () => {
    const plugin = await plug('10-old', { unknown: ['RunPodSandbox', 'StopPodSandbox'] });
    const pod = await client.run('old');
    await client.removePod(pod);
    await plugin.heard('RemovePodSandbox');
    assert.deepEqual(plugin.events(), ['StateChange', 'StateChange', 'RemovePodSandbox']);
  });

  it('go on without a plugin that hangs, or dies in the middle of one', async () => {
    const steady = await plug('90-steady');
    let current: NriPlugin | undefined;
    for (const [name, before] of [
      ['10-hangs', () => sleep(60_000, undefined, { ref: false })],
      [
        '10-dies',
        () => {
          current?.close();
        },
      ],
    ] as const) {
      const plugin = await plug(name, {
        before: ({ method }) => (method === 'RunPodSandbox' ? before() : undefined),
      });
      current = plugin;
      const start = Date.now();
      const pod = await client.run(name);
      assert.ok(Date.now() - start < 10_000);
      await plugin.closed();
      assert.ok(steady.events(pod).includes('RunPodSandbox'));
      await client.begin(pod, 'sleep 100');
    }
    assert.match(agent.output, /10-hangs[^\n]*RunPodSandbox was not answered within 1000 ms/);
  });

  it('are not for those who send garbage, never register, or have no proper name', async () => {
    const garbage = await NriPlugin.dial(socket);
    garbage.socket.write(Buffer.alloc(4096, 0xff));
    await garbage.closed();
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(2, 0);
    frame.writeUInt32BE(0xffff_ffff, 4);
    const oversized = await NriPlugin.dial(socket);
    oversized.socket.write(frame);
    await oversized.closed();
    for (const name of ['1-short', 'xx-letters', '10-', '10-sp ace']) {
      const unnamed = await NriPlugin.dial(socket);
      await assert.rejects(unnamed.register(name), /plugin (name|index)/);
      unnamed.close();
    }
    const silent = await NriPlugin.dial(socket);
    const pod = await client.run('crowd');
    await silent.closed();
    assert.match(agent.output, /did not register within 3000 ms/);
    await client.begin(pod, 'sleep 100');
  });
});
