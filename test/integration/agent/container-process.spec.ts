/** What a container's process is given through CRI: environment, identity, capabilities. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import {
  SecurityProfile_ProfileType,
  SupplementalGroupsPolicy,
} from '../../../src/cri/gen/security.js';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';

describe('the process of a container', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;
  let pod: string;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
    pod = await pods.run('pod');
  });

  after(async () => {
    await pods.removePod(pod);
    assert.deepEqual(await agent.close(), []);
  });

  describe('environment', () => {
    // Every byte but NUL, and the ends of what UTF-8 can say.
    const value = Buffer.concat([
      Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1)),
      Buffer.from('\n=line\u{10ffff}\ufeff'),
    ]);
    const change = { envs: [{ key: 'BYTES', value }] };
    const show = 'printf %s "$BYTES" | od -An -v -tx1 | tr -d " \\n"';

    it('reaches the payload and its execs byte for byte, in a later life of the agent too', async () => {
      const id = await pods.begin(pod, `${show}; echo; exec sleep 1000`, change);
      assert.equal(await pods.exec(id, show), value.toString('hex'));
      await agent.stop('SIGKILL');
      await agent.start();
      assert.equal(await pods.exec(id, show), value.toString('hex'));
      assert.match(agent.readLog('c1.log'), new RegExp(` ${value.toString('hex')}\n$`));
      await pods.remove(id);
    });

    it('is refused with a NUL, by name', async () => {
      const envs = [{ key: 'ZERO', value: Buffer.from('a\0b') }];
      await assert.rejects(pods.create(pod, 'true', { envs }), {
        kind: 'invalid-argument',
        message: /env ZERO .*NUL/,
      });
    });
  });

  describe('ambient capabilities', () => {
    const security = (capabilities: object, more: object = {}) => ({
      linux: { securityContext: { capabilities, runAsUser: { value: 1000n }, ...more } },
    });
    const show = 'grep -E "^Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/self/status';
    const sets = (text: string): Record<string, string> =>
      Object.fromEntries(
        [...text.matchAll(/Cap(\w+):\s+0*([0-9a-f]+)/g)].map((m) => [m[1], m[2]]),
      ) as Record<string, string>;
    const only = { addAmbientCapabilities: ['NET_BIND_SERVICE'], dropCapabilities: ['ALL'] };
    const bind = { Inh: '400', Prm: '400', Eff: '400', Bnd: '400', Amb: '400' };

    it('let a user other than root do what they stand for, and an exec too', async () => {
      const id = await pods.begin(pod, `${show}; exec sleep 1000`, security(only));
      assert.deepEqual(sets(await pods.exec(id, show)), bind);
      await pods.remove(id);
      assert.deepEqual(sets(await pods.output(pod, show, security(only))), bind);
    });

    it('are there with no_new_privs and a seccomp filter', async () => {
      const more = {
        noNewPrivs: true,
        seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault },
      };
      assert.deepEqual(sets(await pods.output(pod, show, security(only, more))), bind);
    });

    it('are not there unless asked for', async () => {
      const text = await pods.output(pod, show, security({ addCapabilities: ['NET_ADMIN'] }));
      assert.deepEqual([sets(text)['Eff'], sets(text)['Amb'], sets(text)['Inh']], ['0', '0', '0']);
    });

    it('are refused by an unknown name', async () => {
      const change = security({ addAmbientCapabilities: ['FLY'] });
      await assert.rejects(pods.create(pod, 'true', change), {
        kind: 'invalid-argument',
        message: /"FLY" is unknown/,
      });
    });
  });

  describe('user and groups', () => {
    const show = 'id -u; id -g; id -G; echo $HOME';
    const as = (securityContext: object) => ({ linux: { securityContext } });
    const uid = (value: bigint) => ({ runAsUser: { value } });
    const gid = (value: bigint) => ({ runAsGroup: { value } });
    const { Merge, Strict } = SupplementalGroupsPolicy;

    for (const [what, security, seen, told] of [
      ['nothing', {}, '0\n0\n0\n/', [0n, 0n, [0n]]],
      [
        'a user of the image',
        uid(1000n),
        '1000\n1000\n1000 2000\n/home',
        [1000n, 1000n, [1000n, 2000n]],
      ],
      [
        'its name',
        { runAsUsername: 'app' },
        '1000\n1000\n1000 2000\n/home',
        [1000n, 1000n, [1000n, 2000n]],
      ],
      ['a number nobody has', uid(4242n), '4242\n0\n0\n/', [4242n, 0n, [0n]]],
      ['a number for a name', { runAsUsername: '4242' }, '4242\n0\n0\n/', [4242n, 0n, [0n]]],
      [
        'another primary group',
        { ...uid(1000n), ...gid(7n) },
        '1000\n7\n7 2000\n/home',
        [1000n, 7n, [7n, 2000n]],
      ],
      [
        'groups to merge',
        { ...uid(1000n), supplementalGroups: [9n, 2000n], supplementalGroupsPolicy: Merge },
        '1000\n1000\n1000 9 2000\n/home',
        [1000n, 1000n, [1000n, 9n, 2000n]],
      ],
      [
        'groups and no others',
        { ...uid(1000n), ...gid(7n), supplementalGroups: [9n], supplementalGroupsPolicy: Strict },
        '1000\n7\n7 9\n/home',
        [1000n, 7n, [7n, 9n]],
      ],
      [
        'no groups',
        { ...uid(1000n), supplementalGroupsPolicy: Strict },
        '1000\n1000\n1000\n/home',
        [1000n, 1000n, [1000n]],
      ],
    ] as const) {
      it(`are what was asked for, and told so: ${what}`, async () => {
        const id = await pods.begin(pod, `exec sleep 1000`, as(security));
        assert.equal(await pods.exec(id, show), seen);
        const user = (await pods.status(id)).user?.linux;
        assert.deepEqual([user?.uid, user?.gid, user?.supplementalGroups], told);
        await pods.remove(id);
      });
    }

    it('leave a HOME that was given, and replace an empty one', async () => {
      const home = (value: string) => ({
        ...as(uid(1000n)),
        envs: [{ key: 'HOME', value: Buffer.from(value) }],
      });
      assert.equal(await pods.output(pod, 'echo $HOME', home('/mine')), '/mine');
      assert.equal(await pods.output(pod, 'echo $HOME; env | grep -c ^HOME', home('')), '/home\n1');
    });

    for (const [what, security, message] of [
      ['a group without a user', gid(7n), /run_as_group 7 is given without run_as_user/],
      ['a user twice', { ...uid(1n), runAsUsername: 'app' }, /both given/],
      ['a name that is not there', { runAsUsername: 'bob' }, /"bob" is not in the image/],
      ['a name that is none', { runAsUsername: 'a\nb' }, /not in the image/],
      ['a negative number', uid(-1n), /run_as_user -1 is out of range/],
      ['the number that means no change', uid(4294967295n), /out of range/],
      ['a number that would wrap', uid(4294967296n), /out of range/],
      ['such a group', { ...uid(1n), ...gid(4294967296n) }, /run_as_group .* out of range/],
      ['such a supplemental group', { supplementalGroups: [-1n] }, /supplemental group -1/],
    ] as const) {
      it(`are refused as ${what}`, async () => {
        await assert.rejects(pods.create(pod, 'true', as(security)), {
          kind: 'invalid-argument',
          message,
        });
      });
    }
  });

  describe('limits and the like', () => {
    const limits = (resources: object) => ({ linux: { resources } });

    it('has its OOM score, and an exec the same', async () => {
      const id = await pods.begin(pod, 'exec sleep 1000', limits({ oomScoreAdj: 777n }));
      assert.equal(
        await pods.exec(id, 'cat /proc/1/oom_score_adj /proc/self/oom_score_adj'),
        '777\n777',
      );
      await pods.remove(id);
    });

    for (const [what, resources, message] of [
      ['an OOM score beyond its range', { oomScoreAdj: 1001n }, /oom_score_adj 1001/],
      ['a file outside its cgroup', { unified: new Map([['../x', '1']]) }, /"\.\.\/x" is no file/],
      [
        'a file of the core',
        { unified: new Map([['cgroup.procs', '1']]) },
        /"cgroup\.procs" is no/,
      ],
      ['a file with a slash', { unified: new Map([['memory/high', '1']]) }, /"memory\/high" is no/],
      ['a newline in a value', { unified: new Map([['memory.high', '1\n2']]) }, /memory\.high/],
      ['a malformed list', { cpusetCpus: '0-' }, /cpuset_cpus "0-" is malformed/],
      [
        'a page size that is none',
        { hugepageLimits: [{ pageSize: '../2MB', limit: 1n }] },
        /page size/,
      ],
      ['memory below -1', { memoryLimitInBytes: -2n }, /memory_limit_in_bytes -2/],
      [
        'swap below memory',
        { memoryLimitInBytes: 1n << 30n, memorySwapLimitInBytes: 1n << 20n },
        /memory_swap_limit_in_bytes/,
      ],
    ] as const) {
      it(`is refused with ${what}`, async () => {
        await assert.rejects(pods.create(pod, 'true', limits(resources)), {
          kind: 'invalid-argument',
          message,
        });
      });
    }

    it('takes capabilities by name alone, all of them or none', async () => {
      const caps = async (capabilities: object): Promise<string> => {
        const change = { linux: { securityContext: { capabilities } } };
        const text = await pods.output(pod, 'grep CapEff /proc/self/status', change);
        return text.split('\t')[1] ?? '';
      };
      const bounding = /CapBnd:\t([0-9a-f]+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
      assert.equal(await caps({ addCapabilities: ['ALL'] }), bounding);
      assert.equal(await caps({ dropCapabilities: ['ALL'] }), '0'.repeat(16));
      assert.equal(
        await caps({ addCapabilities: ['CAP_CHOWN'], dropCapabilities: ['ALL'] }),
        '1'.padStart(16, '0'),
      );
    });
  });

  describe('the cgroup of its pod', () => {
    for (const [parent, message] of [
      ['/a/../../b', /must not contain "\.\."/],
      ['relative/b', /must be an absolute path/],
      ['/a\nb', /control characters/],
      ['/a//b', /must name a cgroup/],
      ['/a/./b', /must name a cgroup/],
      ['/', /must name a cgroup/],
      ['/a/', /must name a cgroup/],
      [`/${'x'.repeat(256)}`, /must name a cgroup/],
      ['/kubepods.slice', /is a systemd slice, but the cgroup driver is cgroupfs/],
      ['kubepods-burstable-pod1.slice', /cgroup_parent/],
    ] as const) {
      it(`is refused as ${JSON.stringify(parent.slice(0, 40))}`, async () => {
        await assert.rejects(pods.run('bad-parent', { linux: { cgroupParent: parent } }), {
          kind: 'invalid-argument',
          message,
        });
        const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
        assert.deepEqual(
          items.map((item) => item.id),
          [pod],
        );
      });
    }
  });
});
