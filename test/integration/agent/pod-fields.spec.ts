/** What a pod's containers share through CRI: /dev/shm, names, kernel parameters, namespaces. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { NamespaceMode } from '../../../src/cri/gen/namespace.js';
import { TestAgent } from '../../support/agent.js';
import { PodClient } from '../../support/pod-client.js';

const { POD, CONTAINER, NODE, TARGET } = NamespaceMode;
const NAMES = { [POD]: 'POD', [CONTAINER]: 'CONTAINER', [NODE]: 'NODE' };
const modes = (network: NamespaceMode, pid: NamespaceMode, ipc: NamespaceMode, targetId = '') => ({
  linux: { securityContext: { namespaceOptions: { network, pid, ipc, targetId } } },
});

describe('what the containers of a pod share', function () {
  this.timeout(120_000);
  let agent: TestAgent;
  let pods: PodClient;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    pods = new PodClient(agent);
    await pods.pull();
  });

  after(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  afterEach(async () => {
    const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
    for (const { id } of items) await pods.removePod(id);
    assert.deepEqual(
      agent.left().filter((line) => !line.startsWith('cgroup ')),
      [],
    );
  });

  const noPods = async (): Promise<void> => {
    const { items } = await agent.client.runtime.listPodSandbox({ filter: undefined });
    assert.deepEqual(items, []);
  };

  describe('/dev/shm', () => {
    const mountsOf = (id: string): string[] =>
      readFileSync('/proc/self/mountinfo', 'utf8')
        .split('\n')
        .filter((line) => line.includes(`${agent.state}/shm/${id}`));

    it('is one tmpfs of 64 MiB for all of them, for every user, and none of another pod', async () => {
      const [one, two] = [await pods.run('one'), await pods.run('two')];
      const writer = await pods.begin(one, 'exec sleep 1000', {
        linux: { securityContext: { runAsUser: { value: 1000n } } },
      });
      const reader = await pods.begin(one, 'exec sleep 1000');
      const other = await pods.begin(two, 'exec sleep 1000');
      await pods.exec(writer, 'echo shared > /dev/shm/x');
      assert.equal(await pods.exec(reader, 'cat /dev/shm/x'), 'shared');
      assert.equal(await pods.exec(other, 'ls -A /dev/shm'), '');
      assert.equal(
        await pods.exec(
          reader,
          'stat -c %a /dev/shm; df -k /dev/shm | tail -1 | tr -s " " | cut -d" " -f2',
        ),
        '1777\n65536',
      );
      assert.match(
        await pods.exec(reader, 'grep " /dev/shm " /proc/mounts'),
        /^shm \/dev\/shm tmpfs rw,nosuid,nodev,noexec/,
      );
      // The last of it does not fit.
      assert.match(
        await pods.exec(reader, 'dd if=/dev/zero of=/dev/shm/big bs=1M count=65 2>&1'),
        /No space left/,
      );
    });

    it('lives through a restart of the agent, and a container’s end, until the pod is stopped', async () => {
      const pod = await pods.run('pod');
      const first = await pods.begin(pod, 'echo kept > /dev/shm/x');
      await pods.ended(first);
      await agent.stop('SIGKILL');
      await agent.start();
      assert.equal(await pods.output(pod, 'cat /dev/shm/x'), 'kept');
      assert.equal(mountsOf(pod).length, 1);
      await pods.stopPod(pod);
      await pods.stopPod(pod);
      assert.deepEqual(mountsOf(pod), []);
      assert.ok(!existsSync(join(agent.state, 'shm', pod)));
    });

    it('comes back for a pod that has lost it', async () => {
      const pod = await pods.run('pod');
      await agent.stop();

      execFileSync('umount', [join(agent.state, 'shm', pod)]);
      await agent.start();
      assert.equal(mountsOf(pod).length, 1);
    });

    it('is a caller’s own mount where there is one', async () => {
      const pod = await pods.run('pod');
      const own = join(agent.folder, 'own-shm');
      mkdirSync(own, { recursive: true });
      writeFileSync(join(own, 'mine'), '');
      const mounts = [{ hostPath: own, containerPath: '/dev/shm/' }];
      assert.equal(await pods.output(pod, 'ls /dev/shm', { mounts }), 'mine');
    });

    it('is the host’s with the host’s IPC', async () => {
      const pod = await pods.run('pod', modes(POD, CONTAINER, NODE));
      const name = `/dev/shm/pvecri-test-${process.pid}`;
      writeFileSync(name, 'host');
      try {
        assert.equal(await pods.output(pod, `cat ${name}`), 'host');
        assert.deepEqual(mountsOf(pod), []);
      } finally {
        rmSync(name);
      }
    });
  });

  describe('names', () => {
    it('are the pod’s in hostname, hosts and environment', async () => {
      const pod = await pods.run('named', { hostname: 'its-name' });
      const ip = (await pods.podStatus(pod)).network?.ip;
      const text = await pods.output(pod, 'hostname; echo $HOSTNAME; cat /etc/hostname /etc/hosts');
      assert.match(text, /^its-name\nits-name\nits-name\n127\.0\.0\.1\tlocalhost\n::1\tlocalhost/);
      assert.ok(text.endsWith(`\n${ip}\tits-name`), text);
    });

    it('are the node’s when the pod has none, or shares the node’s network', async () => {
      const nameless = await pods.run('nameless', { hostname: '' });
      const show = 'hostname; echo $HOSTNAME; cat /etc/hostname';
      const node = [hostname(), hostname(), hostname()].join('\n');
      assert.equal(await pods.output(nameless, show), node);
      const shared = await pods.run('shared', modes(NODE, CONTAINER, POD), NODE);
      assert.equal(await pods.output(shared, show), node);
      assert.equal(
        await pods.output(shared, 'cat /etc/hosts'),
        readFileSync('/etc/hosts', 'utf8').trimEnd(),
      );
    });

    it('are refused over 64 bytes, and leave nothing', async () => {
      await pods.run('just', { hostname: 'h'.repeat(64) });
      await assert.rejects(pods.run('long', { hostname: 'h'.repeat(65) }), {
        kind: 'invalid-argument',
        message: /hostname "h+" is too long: at most 64 bytes/,
      });
    });

    it('resolve as the node’s do without a DNS configuration', async () => {
      const pod = await pods.run('dns', { dnsConfig: undefined });
      assert.equal(
        await pods.output(pod, 'cat /etc/resolv.conf'),
        readFileSync('/etc/resolv.conf', 'utf8').trimEnd(),
      );
    });

    it('come from a caller’s own file where it mounts one', async () => {
      const pod = await pods.run('own');
      const file = join(agent.folder, 'own-hosts');
      writeFileSync(file, 'mine\n');
      const mounts = ['hosts', 'hostname', 'resolv.conf'].map((name) => ({
        hostPath: file,
        containerPath: `/etc//${name}`,
      }));
      const show = 'cat /etc/hosts /etc/hostname /etc/resolv.conf';
      assert.equal(await pods.output(pod, show, { mounts }), 'mine\nmine\nmine');
    });

    it('can be written to, unless the root is read-only', async () => {
      const pod = await pods.run('write');
      assert.equal(await pods.output(pod, 'echo x >> /etc/hosts && echo yes'), 'yes');
      const text = await pods.output(pod, 'echo x >> /etc/hosts || echo no', {
        linux: { securityContext: { readonlyRootfs: true } },
      });
      assert.match(text, /Read-only file system\nno$/);
    });
  });

  describe('kernel parameters', () => {
    const linux = (sysctls: Record<string, string>, more: object = {}) => ({
      linux: { sysctls: new Map(Object.entries(sysctls)), ...more },
    });

    it('are set in the pod’s namespaces, and nowhere else', async () => {
      const read = (path: string): string => readFileSync(`/proc/sys/${path}`, 'utf8').trim();
      const before = [read('kernel/shmmni'), read('fs/mqueue/msg_max'), read('kernel/sem')];
      const pod = await pods.run(
        'sysctls',
        linux({
          'net.ipv4.ip_unprivileged_port_start': '80',
          'net.ipv4.ping_group_range': '0 1000',
          'net/ipv4/ip_forward': '1',
          'kernel.shmmni': '4000',
          'kernel.msgmax': '9000',
          'kernel.sem': '250 32000 100 128',
          'fs.mqueue.msg_max': '20',
        }),
      );
      const text = await pods.output(
        pod,
        'cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_forward kernel/shmmni kernel/msgmax kernel/sem fs/mqueue/msg_max',
      );
      assert.equal(text, '80\n0\t1000\n1\n4000\n9000\n250\t32000\t100\t128\n20');
      assert.deepEqual(
        [read('kernel/shmmni'), read('fs/mqueue/msg_max'), read('kernel/sem')],
        before,
      );
    });

    const node = {
      securityContext: { namespaceOptions: { network: NODE, pid: CONTAINER, ipc: NODE } },
    };
    for (const [key, value, more, message] of [
      ['kernel.panic', '1', {}, /"kernel.panic" is not a parameter/],
      [
        'net.ipv4.ip_forward',
        '1+kernel.core_pattern=x',
        {},
        /"net.ipv4.ip_forward" has a malformed/,
      ],
      ['net/../vm/swappiness', '1', {}, /"net\/\.\.\/vm\/swappiness" is malformed/],
      ['net.ipv4.no_such_thing', '1', {}, /no_such_thing/],
      ['net.ipv4.ip_forward', 'many', {}, /ip_forward/],
      ['net.ipv4.ip_forward', '1', node, /"net.ipv4.ip_forward" would change the host/],
      ['kernel.shmmax', '1', node, /"kernel.shmmax" would change the host/],
    ] as const) {
      it(`are refused as ${key} = ${value}${more === node ? ' with the host’s' : ''}`, async () => {
        await assert.rejects(pods.run('refused', linux({ [key]: value }, more)), {
          kind: 'invalid-argument',
          message,
        });
        await noPods();
      });
    }
  });

  describe('namespaces', () => {
    const show = 'for n in net ipc uts pid; do readlink /proc/self/ns/$n; done';
    const host = ['net', 'ipc', 'uts', 'pid'].map((n) => readlinkSync(`/proc/self/ns/${n}`));

    const seen = async (pod: string, change = {}): Promise<string[]> =>
      (await pods.output(pod, show, change)).split('\n');

    for (const network of [POD, NODE]) {
      for (const ipc of [POD, NODE]) {
        it(`are as asked: network ${NAMES[network]}, ipc ${NAMES[ipc]}`, async () => {
          const change = modes(network, CONTAINER, ipc);
          const pod = await pods.run('modes', change, network);
          const options = (await pods.podStatus(pod)).linux?.namespaces?.options;
          assert.deepEqual(
            [options?.network, options?.pid, options?.ipc],
            [network, CONTAINER, ipc],
          );
          const [one, two] = [await seen(pod, change), await seen(pod, change)];
          // Of the agent's, which lives in a network namespace of the test's own.
          const agentNet = readlinkSync(`/proc/${agent.pid}/ns/net`);
          assert.equal(one[0] === agentNet, network === NODE);
          assert.equal(one[1] === host[1], ipc === NODE);
          assert.equal(one[2] === host[2], network === NODE);
          assert.deepEqual(one.slice(0, 3), two.slice(0, 3));
        });
      }
    }

    for (const mode of [POD, CONTAINER, NODE]) {
      it(`of a target are joined in a pod of pid ${NAMES[mode]}`, async () => {
        const change = modes(POD, mode, POD);
        const pod = await pods.run('target', change);
        const target = await pods.begin(pod, `${show}; exec sleep 1234`, change);
        const joined = modes(POD, TARGET, POD, target);
        const guest = await pods.begin(pod, 'exec sleep 1000', joined);
        assert.equal(
          await pods.exec(guest, 'readlink /proc/self/ns/pid'),
          await pods.exec(target, 'readlink /proc/self/ns/pid'),
        );
        assert.match(await pods.exec(guest, 'ps -o args'), /sleep 1234/);
        const { info } = await agent.client.runtime.containerStatus({
          containerId: guest,
          verbose: true,
        });
        const told = JSON.parse(info.get('info') ?? '{}') as { pidNamespace?: unknown };
        assert.deepEqual(told.pidNamespace, { mode: 'target', targetId: target });
      });
    }

    it('of a target are refused unless it runs in the same pod', async () => {
      const [pod, other] = [await pods.run('pod'), await pods.run('other')];
      const elsewhere = await pods.begin(other, 'exec sleep 1000');
      const created = await pods.create(pod, 'exec sleep 1000');
      const over = await pods.begin(pod, 'true');
      await pods.ended(over);
      for (const [id, kind] of [
        [elsewhere, 'failed-precondition'],
        [created, 'failed-precondition'],
        [over, 'failed-precondition'],
        ['f'.repeat(64), 'not-found'],
        ['', 'invalid-argument'],
      ] as const) {
        await assert.rejects(pods.create(pod, 'true', modes(POD, TARGET, POD, id)), {
          kind,
          message: /target_id|not found|does not exist|unknown/,
        });
      }
      await assert.rejects(pods.run('targeting', modes(POD, TARGET, POD, created)), {
        kind: 'invalid-argument',
        message: /TARGET is for containers/,
      });
    });
  });
});
