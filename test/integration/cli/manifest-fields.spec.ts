/** Fields of a manifest, seen from inside the container that they are about. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { TestAgent } from '../../support/agent.js';
import { pvecri } from './command.js';

type Fields = Record<string, unknown>;

describe('a field of the manifest', () => {
  let agent: TestAgent;

  before(async () => {
    agent = new TestAgent();
    await agent.start();
    const { code, stderr } = await pvecri(agent, ['pull', agent.busyboxReference()]);
    assert.equal(code, 0, stderr);
  });

  after(async () => {
    assert.deepEqual(await agent.close(), []);
  });

  /** Runs a script in a pod to its end, and gives back what it wrote. */
  async function output(
    script: string,
    container: Fields = {},
    spec: Fields = {},
  ): Promise<string> {
    const text = stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'fields', labels: { app: 'x' } },
      spec: {
        restartPolicy: 'Never',
        containers: [
          {
            name: 'main',
            image: 'example.org/busybox:1',
            command: ['sh', '-c', script],
            ...container,
          },
        ],
        ...spec,
      },
    });
    const args = ['run', '-', '--wait', '--timeout', '20s', '--log-dir', agent.logs];
    const { code, stderr } = await pvecri(agent, args, { stdin: text });
    try {
      assert.equal(code, 0, stderr);
      const logs = await pvecri(agent, ['logs', 'fields/main']);
      assert.equal(logs.code, 0, logs.stderr);
      return logs.stdout + logs.stderr;
    } finally {
      const removed = await pvecri(agent, ['rm', '-f', 'fields']);
      assert.equal(removed.code, code === 0 || code === 124 ? 0 : 3, removed.stderr);
    }
  }

  it('command, args, env and workingDir', async () => {
    const text = await output('', {
      command: ['sh', '-c', 'pwd; echo "$0 $1 $A"'],
      args: ['$(A)', '$$(A)'],
      env: [{ name: 'A', value: 'ü "quoted"\nline' }],
      workingDir: '/tmp',
    });
    assert.equal(text, '/tmp\nü "quoted"\nline $(A) ü "quoted"\nline\n');
  });

  it('hostname, hostAliases and dnsConfig', async () => {
    const text = await output(
      'hostname; tail -n 2 /etc/hosts; cat /etc/resolv.conf',
      {},
      {
        hostname: 'shop',
        hostAliases: [{ ip: '192.0.2.9', hostnames: ['db'] }],
        dnsPolicy: 'None',
        dnsConfig: {
          nameservers: ['192.0.2.53'],
          searches: ['example.org'],
          options: [{ name: 'ndots', value: '2' }],
        },
      },
    );
    assert.match(
      text,
      /^shop\n10\.99\.0\.\d+\tshop\n192\.0\.2\.9\tdb\nsearch example\.org\nnameserver 192\.0\.2\.53\noptions ndots:2\n$/,
    );
  });

  it('hostNetwork, hostPID and hostIPC', async () => {
    const script =
      'hostname; for kind in net pid ipc; do readlink /proc/self/ns/$kind; done; echo pid $$$$';
    const lines = (
      await output(script, {}, { hostNetwork: true, hostPID: true, hostIPC: true })
    ).split('\n');
    assert.equal(lines[0], hostname());
    // The host of this agent is the network namespace it was started in.
    assert.deepEqual(lines.slice(2, 4), [
      readlinkSync('/proc/self/ns/pid'),
      readlinkSync('/proc/self/ns/ipc'),
    ]);
    assert.match(lines[4] ?? '', /^pid \d{2,}$/);
  });

  it('shareProcessNamespace', async () => {
    // Kubernetes makes one dollar sign of two.
    const script = 'echo $$$$ $PPID; test -d /proc/1/fd && echo there';
    assert.match(await output(script), /^1 0\n/);
    assert.match(await output(script, {}, { shareProcessNamespace: true }), /^([2-9]|\d\d+) 0\n/);
  });

  it('volumes: hostPath, read-only or not, and emptyDir', async () => {
    const folder = join(agent.folder, 'shared');
    mkdirSync(folder);
    writeFileSync(join(folder, 'in'), 'from the host\n');
    const text = await output(
      'cat /data/in; echo back > /data/out; touch /ro/x 2>/dev/null || echo refused; stat -c %a /scratch; touch /scratch/x',
      {
        volumeMounts: [
          { name: 'data', mountPath: '/data' },
          { name: 'data', mountPath: '/ro', readOnly: true },
          { name: 'scratch', mountPath: '/scratch' },
        ],
      },
      {
        volumes: [
          { name: 'data', hostPath: { path: folder, type: 'Directory' } },
          { name: 'scratch', emptyDir: {} },
        ],
      },
    );
    assert.equal(text, 'from the host\nrefused\n777\n');
    assert.equal(readFileSync(join(folder, 'out'), 'utf8'), 'back\n');
  });

  it('securityContext', async () => {
    const text = await output(
      'id -u; id -g; id -G; grep -E "^(CapEff|NoNewPrivs|Seccomp):" /proc/self/status; touch /x 2>/dev/null || echo read-only',
      {
        securityContext: {
          runAsUser: 1000,
          capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] },
          readOnlyRootFilesystem: true,
          allowPrivilegeEscalation: false,
        },
      },
      { securityContext: { runAsGroup: 3000, supplementalGroups: [4000] } },
    );
    // Group 2000 is of the image: its /etc/group has user 1000 in it, and groups are merged.
    assert.match(text, /^1000\n3000\n3000 2000 4000\n/);
    assert.match(text, /NoNewPrivs:\t1\n/);
    assert.match(text, /Seccomp:\t2\n/);
    assert.match(text, /read-only\n$/);
  });

  it('privileged', async () => {
    const text = await output('grep -E "^(CapEff|Seccomp):" /proc/self/status', {
      securityContext: { privileged: true },
    });
    // More than the 14 capabilities of an ordinary container, and as many as this machine has.
    const capabilities = BigInt(`0x${/CapEff:\t([0-9a-f]+)\n/.exec(text)?.[1] ?? '0'}`);
    const own = /CapBnd:\t([0-9a-f]+)\n/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
    assert.equal(capabilities, BigInt(`0x${own}`));
    assert.match(text, /Seccomp:\t0\n/);
  });

  it('sysctls', async () => {
    const sysctls = [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '80' }];
    const text = await output(
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
      {},
      { securityContext: { sysctls } },
    );
    assert.equal(text, '80\n');
  });

  it('initContainers, one after the other, before the others', async () => {
    const init = (name: string, script: string, more: Fields = {}): Fields => ({
      name,
      image: 'example.org/busybox:1',
      command: ['sh', '-c', script],
      volumeMounts: [{ name: 'work', mountPath: '/work' }],
      ...more,
    });
    const stays = 'touch /work/sidecar; exec sleep 1000';
    const text = await output(
      'while [ ! -e /work/sidecar ]; do usleep 10000; done; cat /work/log; stat -c %g:%a /work; id -G',
      {
        volumeMounts: [{ name: 'work', mountPath: '/work' }],
        securityContext: { runAsUser: 1000 },
      },
      {
        volumes: [{ name: 'work', emptyDir: {} }],
        securityContext: { fsGroup: 4321, supplementalGroupsPolicy: 'Strict' },
        initContainers: [
          init('stays', stays, { restartPolicy: 'Always' }),
          init('one', 'usleep 300000; echo one >> /work/log'),
          init('two', 'echo two >> /work/log'),
        ],
      },
    );
    assert.equal(text, 'one\ntwo\n4321:2777\n1000 4321\n');
  });

  it('an init container that fails ends the pod', async () => {
    const text = stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'failing' },
      spec: {
        initContainers: [{ name: 'bad', image: 'example.org/busybox:1', command: ['false'] }],
        containers: [{ name: 'main', image: 'example.org/busybox:1', command: ['true'] }],
      },
    });
    const { code, stderr } = await pvecri(agent, ['run', '-', '--log-dir', agent.logs], {
      stdin: text,
    });
    assert.equal(code, 1);
    assert.match(stderr, /init container bad ended with exit code 1 \(Error\)/);
    assert.equal((await pvecri(agent, ['pods', '-q'])).stdout, '');
  });

  it('hostnameOverride', async () => {
    assert.equal(
      await output('hostname', {}, { hostnameOverride: 'db.example.org' }),
      'db.example.org\n',
    );
  });

  it('resourceFieldRef', async () => {
    const env = [
      { name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
    ];
    const resources = { limits: { memory: '64Mi' } };
    assert.equal(await output('echo $A', { env, resources }), '64\n');
  });

  it('tty', async () => {
    assert.equal(await output('test -t 1 && echo terminal', { tty: true }), 'terminal\r\n');
    assert.equal(await output('test -t 1 || echo none'), 'none\n');
  });

  it('terminationMessagePath', async () => {
    const container = { terminationMessagePath: '/tmp/last-words' };
    assert.equal(
      await output('echo bye > /tmp/last-words; cat /tmp/last-words', container),
      'bye\n',
    );
    assert.equal(await output('echo x > /dev/termination-log && echo there'), 'there\n');
  });

  it('resources, in the OOM score', async () => {
    const read = 'cat /proc/self/oom_score_adj';
    assert.equal(await output(read), '1000\n');
    const score = Number(await output(read, { resources: { requests: { memory: '64Mi' } } }));
    assert.ok(score > 3 && score < 1000, String(score));
  });
});
