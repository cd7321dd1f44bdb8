/** What plugins make of containers of a real agent: each adjustment as the payload sees it, and each refusal. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CreateContainerResponse } from '../../../src/nri/gen/service.js';
import { CGROUP_ROOT } from '../../support/agent.js';
import { NriAgent } from '../../support/nri-agent.js';

type Adjustment = Parameters<typeof CreateContainerResponse.fromPartial>[0]['adjust'];

describe('NRI adjustments', function () {
  this.timeout(120_000);
  const nri = new NriAgent();
  const { agent, client, folder } = nri;

  before(() => {
    appendFileSync(agent.configFile, `[devices]\ncdi_spec_dirs = ["${folder}/cdi"]\n`);
    return nri.start({ Env: ['FROM_IMAGE=image', 'KEPT=image'] });
  });
  afterEach(() => nri.clear());
  after(async () => {
    assert.deepEqual(await nri.close(), []);
  });

  const plug = (name: string, adjust: Adjustment) => nri.plug(name, { create: () => ({ adjust }) });

  it('set and remove variables, and replace the arguments', async () => {
    await plug('10-env', {
      env: [
        { key: 'ADDED', value: 'a=b' },
        { key: '-FROM_IMAGE', value: '' },
        { key: 'ASKED', value: 'plugin' },
      ],
      args: ['/bin/sh', '-c', 'env | sort; echo end'],
    });
    const pod = await client.run('env');
    const output = await client.output(pod, 'echo not this', {
      envs: [{ key: 'ASKED', value: Buffer.from('caller') }],
    });
    const lines = output.split('\n');
    assert.ok(
      ['ADDED=a=b', 'ASKED=plugin', 'KEPT=image', 'end'].every((l) => lines.includes(l)),
      output,
    );
    assert.doesNotMatch(output, /FROM_IMAGE|caller|not this/);
  });

  it('mount, replace and take away folders', async () => {
    for (const name of ['added', 'asked', 'gone', 'other']) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'name'), name);
    }
    await plug('10-mounts', {
      mounts: [
        {
          destination: '/added',
          type: 'bind',
          source: join(folder, 'added'),
          options: ['rbind', 'ro'],
        },
        {
          destination: '/asked',
          type: 'bind',
          source: join(folder, 'other'),
          options: ['bind', 'rw'],
        },
        { destination: '-/gone', type: '', source: '', options: [] },
      ],
    });
    const pod = await client.run('mounts');
    const mounts = ['asked', 'gone'].map((name) => ({
      hostPath: join(folder, name),
      containerPath: `/${name}`,
    }));
    const id = await client.begin(pod, 'exec sleep 100', { mounts });
    assert.equal(
      await client.exec(id, 'cat /added/name /asked/name; ls /gone 2>/dev/null'),
      'addedother',
    );
    assert.match(await client.exec(id, 'touch /added/x'), /Read-only/);
    assert.equal(await client.exec(id, 'touch /asked/x'), '');
    const shown = (await client.status(id)).mounts.map((m) => [m.containerPath, m.hostPath]);
    assert.deepEqual(shown, [
      ['/added', join(folder, 'added')],
      ['/asked', join(folder, 'other')],
    ]);
  });

  it('add devices, limits of processes and a score, also for commands that are run later', async () => {
    await plug('10-process', {
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 77n, hard: 88n }],
      linux: {
        devices: [
          { path: '/dev/plugged', type: 'c', major: 1n, minor: 5n, fileMode: { value: 0o640 } },
        ],
        oomScoreAdj: { value: 321n },
      },
    });
    const pod = await client.run('process');
    const script =
      'ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; head -c 3 /dev/plugged | od -An -tx1';
    const expected = '77\n88\n321\n 00 00 00';
    assert.equal(await client.output(pod, script), expected);
    const id = await client.begin(pod, 'exec sleep 100');
    assert.equal(await client.exec(id, script), expected);
    await agent.stop('SIGKILL');
    await agent.start();
    assert.equal(await client.exec(id, script), expected);
  });

  it('bring CDI devices, whose variables a plugin may know better', async () => {
    mkdirSync(join(folder, 'cdi'));
    const device = {
      name: '0',
      containerEdits: {
        env: ['CARD=0', 'MODE=plain'],
        deviceNodes: [{ path: '/dev/card0', type: 'c', major: 1, minor: 5, permissions: 'rw' }],
        mounts: [{ hostPath: '/etc', containerPath: '/vendor', options: ['ro', 'bind'] }],
        hooks: [
          { hookName: 'createRuntime', path: '/bin/touch', args: ['touch', `${folder}/card-hook`] },
        ],
      },
    };
    writeFileSync(
      join(folder, 'cdi', 'card.json'),
      JSON.stringify({ cdiVersion: '0.6.0', kind: 'vendor.com/card', devices: [device] }),
    );
    let name = 'vendor.com/card=0';
    await nri.plug('10-cdi', {
      create: () => ({ adjust: { CDIDevices: [{ name }], env: [{ key: 'MODE', value: 'fast' }] } }),
    });
    const pod = await client.run('cdi');
    const script = 'echo $CARD $MODE; head -c 2 /dev/card0 | od -An -tx1; ls /vendor/passwd';
    assert.equal(await client.output(pod, script), '0 fast\n 00 00\n/vendor/passwd');
    assert.ok(existsSync(join(folder, 'card-hook')));
    for (name of ['vendor.com/card=9', 'not a name']) {
      await assert.rejects(client.create(pod, 'true'), new RegExp(name));
    }
  });

  it('confine by a seccomp policy, also commands that are run after a restart', async () => {
    await plug('10-seccomp', {
      linux: {
        seccompPolicy: {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [
            { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: { value: 19 } },
          ],
        },
      },
    });
    const pod = await client.run('seccomp');
    const id = await client.begin(pod, 'mkdir /a; exec sleep 100');
    assert.match(await client.exec(id, 'mkdir /b'), /No such device/);
    await agent.stop();
    await agent.start();
    assert.match(await client.exec(id, 'mkdir /b'), /No such device/);
  });

  it('run hooks on the host with the state, and fail with those before the start', async () => {
    const hook = (name: string) => ({
      path: '/bin/sh',
      args: ['sh', '-c', `cat > ${folder}/${name}; echo "$WHO" >> ${folder}/${name}`],
      env: [`WHO=${name}`, 'PATH=/bin:/usr/bin'],
    });
    const plugin = await plug('10-hooks', {
      hooks: {
        prestart: [hook('prestart')],
        createRuntime: [hook('create-runtime')],
        poststart: [hook('poststart')],
        poststop: [hook('poststop')],
      },
    });
    const read = (name: string) => {
      const text = readFileSync(join(folder, name), 'utf8');
      const end = text.lastIndexOf('}') + 1;
      const state = JSON.parse(text.slice(0, end)) as { id: string; status: string; pid?: number };
      return { ...state, who: text.slice(end).trim() };
    };
    const pod = await client.run('hooks');
    const id = await client.create(pod, 'exec sleep 100');
    for (const name of ['prestart', 'create-runtime']) {
      const state = read(name);
      assert.deepEqual([state.id, state.status, state.who], [id, 'creating', name]);
      assert.ok(existsSync(`/proc/${state.pid}/ns/net`));
    }
    assert.ok(!existsSync(join(folder, 'poststart')));
    await client.start(id);
    assert.deepEqual([read('poststart').status, read('poststart').who], ['running', 'poststart']);
    await client.remove(id);
    assert.deepEqual([read('poststop').status, read('poststop').pid], ['stopped', undefined]);
    plugin.close();
    await plugin.closed();
    await plug('10-bad-hook', {
      hooks: { createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', 'echo no >&2; exit 4'] }] },
    });
    await assert.rejects(
      client.create(pod, 'true'),
      /createRuntime hook \/bin\/sh failed: it ended with code 4: no/,
    );
    const { containers } = await agent.client.runtime.listContainers({ filter: undefined });
    assert.deepEqual(containers, []);
  });

  it("choose the cgroup, where it is nobody else's", async () => {
    const parent = agent.cgroup;
    const places = [`${parent}/chosen`, `${parent}/chosen`, parent, `${parent}/no/parent`, '/../x'];
    let next = 0;
    await nri.plug('10-cgroup', {
      create: () => ({ adjust: { linux: { cgroupsPath: places[next++] ?? '' } } }),
    });
    const pod = await client.run('cgroup');
    const id = await client.begin(pod, 'exec sleep 100');
    assert.ok(existsSync(join(CGROUP_ROOT, parent, 'chosen', 'cgroup.procs')));
    await assert.rejects(client.create(pod, 'true'), /in use already/);
    await assert.rejects(client.create(pod, 'true'), /in use already/);
    await assert.rejects(client.create(pod, 'true'), /its parent does not exist/);
    await assert.rejects(client.create(pod, 'true'), /cgroups_path/);
    await client.remove(id);
    assert.ok(!existsSync(join(CGROUP_ROOT, parent, 'chosen')));
  });

  it('add up, each plugin after those before it, and leave the annotations of CRI alone', async () => {
    await plug('10-first', {
      annotations: new Map([
        ['mine', '1'],
        ['-theirs', ''],
      ]),
      env: [{ key: 'A', value: 'first' }],
    });
    const second = await plug('20-second', {
      env: [
        { key: '-A', value: '' },
        { key: 'A', value: 'second' },
      ],
    });
    const pod = await client.run('sum');
    const annotations = new Map([
      ['theirs', 'x'],
      ['kept', 'y'],
    ]);
    assert.equal(await client.output(pod, 'echo $A', { annotations }), 'second');
    const id = await client.begin(pod, 'exec sleep 100', { annotations });
    assert.deepEqual((await client.status(id)).annotations, annotations);
    const seen = second.told.filter((t) => t.container?.id === id);
    assert.deepEqual(
      seen
        .filter(({ method }) => /^(Create|Start)C/.test(method))
        .map((t) => t.container?.annotations),
      Array(2).fill(
        new Map([
          ['kept', 'y'],
          ['mine', '1'],
        ]),
      ),
    );
    assert.ok(seen[0]?.container?.env.includes('A=first'));
  });

  it('are refused when two plugins want the same, naming both, and nothing is left', async () => {
    await plug('10-one', { linux: { oomScoreAdj: { value: 1n } } });
    await plug('20-two', { linux: { oomScoreAdj: { value: 2n } } });
    const pod = await client.run('conflict');
    await assert.rejects(
      client.create(pod, 'true'),
      /NRI plugins 10-one and 20-two both set OomScoreAdj/,
    );
    await client.removePod(pod);
    assert.deepEqual(agent.left(), [`cgroup ${agent.cgroup}`]);
  });

  it('are refused by name where there is no such thing', async () => {
    const hook = [{ path: '/bin/true' }];
    const cases: [Adjustment, RegExp][] = [
      [{ hooks: { createContainer: hook } }, /sets hooks.create_container/],
      [{ hooks: { startContainer: hook } }, /sets hooks.start_container/],
      [{ linux: { ioPriority: { class: 2, priority: 1 } } }, /sets linux.io_priority/],
      [{ linux: { namespaces: [{ type: 'network', path: '/x' }] } }, /sets linux.namespaces/],
      [{ linux: { sysctl: new Map([['net.ipv4.ip_forward', '1']]) } }, /sets linux.sysctl/],
      [{ linux: { scheduler: { policy: 3 } } }, /sets linux.scheduler/],
      [{ linux: { netDevices: new Map([['eth1', { name: 'x' }]]) } }, /sets linux.net_devices/],
      [{ linux: { resources: { rdtClass: { value: 'x' } } } }, /sets linux.resources.rdt_class/],
      [{ linux: { resources: { memory: { swappiness: { value: 1n } } } } }, /memory.swappiness/],
      [{ linux: { devices: [{ path: '/dev/p', type: 'p' }] } }, /of type "p" is not supported/],
      [{ linux: { devices: [{ path: 'relative', type: 'c' }] } }, /absolute/],
      [{ linux: { oomScoreAdj: { value: 5000n } } }, /out of range/],
      [{ rlimits: [{ type: 'RLIMIT_NOPE', soft: 1n, hard: 1n }] }, /RLIMIT_NOPE/],
      [{ rlimits: [{ type: 'RLIMIT_CORE', soft: 2n, hard: 1n }] }, /of 2 to 1 is invalid/],
      [{ mounts: [{ destination: '/t', type: 'tmpfs', source: 'tmpfs' }] }, /type "tmpfs"/],
      [
        { mounts: [{ destination: '/t', type: 'bind', source: '/tmp', options: ['sync'] }] },
        /option "sync"/,
      ],
      [{ mounts: [{ destination: '-/etc/hosts' }] }, /which is the pod's/],
      [{ env: [{ key: 'A=B', value: '' }] }, /must not contain "="/],
      [{ args: ['a\0b'] }, /NUL/],
      [{ hooks: { poststop: [{ path: 'sh' }] } }, /NRI hook path/],
      [{ linux: { seccompPolicy: { defaultAction: 'NO' } } }, /seccomp policy of NRI plugins/],
    ];
    let adjust: Adjustment;
    await nri.plug('10-odd', { create: () => ({ adjust }) });
    const pod = await client.run('odd');
    for (const [wanted, message] of cases) {
      adjust = wanted;
      await assert.rejects(client.create(pod, 'true'), message);
    }
    await client.removePod(pod);
    assert.deepEqual(agent.left(), [`cgroup ${agent.cgroup}`]);
  });

  it('are made when validators agree, who are told whose they are', async () => {
    const owners: (string | undefined)[] = [];
    let verdict = { reject: true, reason: 'too odd' };
    await plug('10-oom', {
      linux: { oomScoreAdj: { value: 7n } },
      env: [{ key: 'V', value: '1' }],
    });
    await nri.plug('20-judge', {
      validate: ({ owners: all, container, plugins, adjust }) => {
        const own = all?.owners.get(container?.id ?? '');
        owners.push(own?.simple.get(29), own?.compound.get(6)?.owners.get('V'));
        assert.deepEqual(
          plugins.map(({ name, index }) => `${index}-${name}`),
          ['10-oom', '20-judge'],
        );
        assert.equal(adjust?.linux?.oomScoreAdj?.value, 7n);
        return verdict;
      },
    });
    const pod = await client.run('judged');
    await assert.rejects(client.create(pod, 'true'), /20-judge rejects[^]*too odd/);
    verdict = { reject: false, reason: '' };
    assert.equal(await client.output(pod, 'cat /proc/self/oom_score_adj'), '7');
    assert.deepEqual(owners, ['10-oom', '10-oom', '10-oom', '10-oom']);
  });
});
