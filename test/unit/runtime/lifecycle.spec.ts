// The verbs over a node in memory: order, state, repeats, and what a failure leaves behind.
import assert from 'node:assert/strict';
import { RuntimeError } from '../../../src/core/errors.js';
import { NO_LIMITS } from '../../../src/core/resource-change.js';
import { createContainer } from '../../../src/runtime/container-create.js';
import { removeContainer } from '../../../src/runtime/container-remove.js';
import { startContainer } from '../../../src/runtime/container-start.js';
import { stopContainer } from '../../../src/runtime/container-stop.js';
import type { RuntimeContext } from '../../../src/runtime/context.js';
import { execSync } from '../../../src/runtime/exec-sync.js';
import { removeImage } from '../../../src/runtime/image-remove.js';
import { removeSandbox } from '../../../src/runtime/sandbox-remove.js';
import { runSandbox } from '../../../src/runtime/sandbox-run.js';
import { stopSandbox } from '../../../src/runtime/sandbox-stop.js';
import { FakeNode } from '../../fakes/node.js';
import { containerRequest, sandboxRequest } from '../../fakes/requests.js';

const kind = (expected: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof RuntimeError, String(error));
  assert.equal(error.kind, expected, error.message);
  assert.match(error.message, text);
  return true;
};

describe('lifecycle verbs', () => {
  let node: FakeNode;
  let context: RuntimeContext;

  beforeEach(() => {
    node = new FakeNode();
    node.addImage('busybox', { env: ['A=1', 'B=2'], cmd: ['/bin/sh', '-c', 'true'] });
    context = node.context();
  });

  it('runs, stops and removes a pod with a container, leaving nothing', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod));
    assert.equal(context.objects.container(id).life.state, 'created');
    await startContainer(context, id);
    assert.equal(context.objects.container(id).life.state, 'running');
    node.exit(id, 7);
    await context.objects.container(id).ended;
    const { life } = context.objects.container(id);
    assert.equal(life.state === 'exited' && life.exit.exitCode, 7);
    await stopSandbox(context, pod);
    assert.equal(context.objects.sandbox(pod).ready, false);
    assert.deepEqual([...node.attached, ...node.pinned.keys()], []);
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
    assert.ok(context.objects.isEmpty());
  });

  it('builds the command line, environment and identity as Kubernetes does', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(
      context,
      containerRequest(pod, {
        args: ['-x'],
        env: [
          ['B', 'two\nlines'],
          ['C', ''],
        ],
        user: { uid: null, gid: null, username: 'app', supplementalGroups: [7], policy: 'merge' },
      }),
    );
    const { process } = node.shims.get(id)!.spec;
    assert.deepEqual(process.argv, ['-x'], 'args replace the image cmd; it has no entrypoint');
    assert.deepEqual(process.env.slice(1), [
      'HOSTNAME=web',
      'A=1',
      'B=two\nlines',
      'C=',
      'HOME=/home/app',
    ]);
    assert.deepEqual(
      [process.uid, process.gid, process.supplementalGroups],
      [1000, 1000, [1000, 7]],
    );
  });

  it('adopts a repeated call, also one that is still under way', async () => {
    const [first, second] = await Promise.all([
      runSandbox(context, sandboxRequest()),
      runSandbox(context, sandboxRequest()),
    ]);
    assert.equal(first, second);
    assert.equal(await runSandbox(context, sandboxRequest()), first);
    const made = await createContainer(context, containerRequest(first));
    assert.equal(await createContainer(context, containerRequest(first)), made);
    await assert.rejects(
      runSandbox(context, sandboxRequest({ hostname: 'other' })),
      kind('already-exists', new RegExp(`default/web.*${first}.*attempt`)),
    );
  });

  it('makes the pod anew under the same name once the first is removed', async () => {
    const first = await runSandbox(context, sandboxRequest());
    await stopSandbox(context, first);
    await assert.rejects(
      runSandbox(context, sandboxRequest()),
      kind('already-exists', /remove it/),
    );
    await removeSandbox(context, first);
    assert.notEqual(await runSandbox(context, sandboxRequest()), first);
  });

  it('starts once, refuses an exited container, and execs in a running one alone', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod));
    const exec = { containerId: id, command: ['true'], timeoutMs: 0 };
    await assert.rejects(execSync(context, exec), kind('failed-precondition', /is created/));
    await Promise.all([startContainer(context, id), startContainer(context, id)]);
    assert.equal(node.calls.filter((call) => call === 'engine.start').length, 1);
    assert.equal((await execSync(context, exec)).exitCode, 0);
    await assert.rejects(
      execSync(context, { ...exec, command: [] }),
      kind('invalid-argument', /cmd is empty/),
    );
    node.exit(id, 0);
    await context.objects.container(id).ended;
    await assert.rejects(startContainer(context, id), kind('failed-precondition', /has exited/));
  });

  it('joins no PID namespace of a target that ended meanwhile', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const target = await createContainer(context, containerRequest(pod));
    await startContainer(context, target);
    const request = (name: string) =>
      containerRequest(pod, {
        metadata: { name, attempt: 0 },
        pid: 'target',
        targetId: target,
      });
    const guest = await createContainer(context, request('guest'));
    assert.equal(context.objects.container(guest).life.state, 'created');
    node.beforeCall = (name) => {
      if (name === 'engine.create') node.exit(target, 0);
    };
    await assert.rejects(
      createContainer(context, request('late')),
      kind('failed-precondition', /late: target_id .* ended while/),
    );
    node.beforeCall = () => undefined;
    assert.equal(context.objects.containersOf(context.objects.sandbox(pod).id).length, 2);
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
  });

  it('stops by signal first, then by the cgroup', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod, { stopSignal: 12 }));
    await startContainer(context, id);
    await stopContainer(context, id, 20);
    assert.deepEqual(node.signals, [[id, 12]]);
    const { life } = context.objects.container(id);
    assert.equal(life.state === 'exited' && life.exit.exitCode, 137);
    await stopContainer(context, id, 20);
    assert.equal(node.signals.length, 1, 'a stopped container is not signalled again');
  });

  it('treats unknown ids as done when stopping and removing, and as errors elsewhere', async () => {
    const unknown = 'f'.repeat(64);
    await stopSandbox(context, unknown);
    await removeSandbox(context, unknown);
    await stopContainer(context, unknown, 0);
    await removeContainer(context, unknown);
    await assert.rejects(startContainer(context, unknown), kind('not-found', /does not exist/));
    await assert.rejects(startContainer(context, ''), kind('invalid-argument', /empty/));
    await assert.rejects(
      createContainer(context, containerRequest('../../etc')),
      kind('not-found', /etc/),
    );
  });

  it('finds objects by unique prefix and names an ambiguous one', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const a = await createContainer(context, containerRequest(pod));
    const b = await createContainer(
      context,
      containerRequest(pod, { metadata: { name: 'side', attempt: 0 } }),
    );
    assert.equal(context.objects.container(a.slice(0, 64)).id, a);
    await assert.rejects(
      startContainer(context, '000'),
      kind('invalid-argument', /ambiguous: 2 ids/),
    );
    await removeContainer(context, b);
    await startContainer(context, '000');
    assert.equal(context.objects.container(a).life.state, 'running');
  });

  it('keeps an image that a container stands on', async () => {
    const image = context.images.find('busybox')!;
    node.images.set(image.id, image);
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod));
    await assert.rejects(removeImage(context, 'busybox'), kind('failed-precondition', /used by/));
    await removeContainer(context, id);
    await removeImage(context, 'busybox');
    await removeImage(context, 'busybox');
    assert.deepEqual(context.images.list(), []);
  });

  const badSandboxes: [string, Parameters<typeof sandboxRequest>[0], string, RegExp][] = [
    [
      'no name',
      { metadata: { name: '', uid: 'u', namespace: 'n', attempt: 0 } },
      'invalid-argument',
      /metadata.name/,
    ],
    [
      'newline in the name',
      { metadata: { name: 'a\nb', uid: 'u', namespace: 'n', attempt: 0 } },
      'invalid-argument',
      /a\\nb.*newline/,
    ],
    ['NUL in the hostname', { hostname: 'a\0b' }, 'invalid-argument', /hostname/],
    ['long hostname', { hostname: 'h'.repeat(65) }, 'invalid-argument', /64 bytes/],
    [
      'relative log directory',
      { logDirectory: 'logs' },
      'invalid-argument',
      /log_directory.*absolute/,
    ],
    ['escaping log directory', { logDirectory: '/var/../etc' }, 'invalid-argument', /"\.\."/],
    ['escaping cgroup parent', { cgroupParent: '/../x' }, 'invalid-argument', /cgroup_parent/],
    ['systemd slice', { cgroupParent: '/kubepods.slice' }, 'invalid-argument', /cgroupDriver/],
    ['unknown handler', { runtimeHandler: 'gvisor' }, 'not-found', /gvisor/],
    [
      'newline in a DNS server',
      { dns: { servers: ['1.1.1.1\nnameserver 6.6.6.6'], searches: [], options: [] } },
      'invalid-argument',
      /DNS server/,
    ],
    [
      'newline in a sysctl',
      { sysctls: [['net.ipv4.x', '1\n2']] },
      'invalid-argument',
      /sysctl "net.ipv4.x"/,
    ],
    [
      'the PID namespace of a target',
      { namespaces: { network: 'pod', pid: 'target', ipc: 'pod', targetId: 'x' } },
      'invalid-argument',
      /TARGET is for containers/,
    ],
  ];
  for (const [what, change, expected, text] of badSandboxes) {
    it(`refuses a sandbox with ${what}, before any side effect`, async () => {
      await assert.rejects(runSandbox(context, sandboxRequest(change)), kind(expected, text));
      assert.deepEqual(node.calls, []);
    });
  }

  const badContainers: [string, Parameters<typeof containerRequest>[1], string, RegExp][] = [
    ['missing image', { image: 'nope' }, 'not-found', /nope.*pull/],
    ['escaping log path', { logPath: '../../etc/passwd' }, 'invalid-argument', /log_path/],
    ['newline in the log path', { logPath: 'a\nb' }, 'invalid-argument', /log_path/],
    ['relative working dir', { workingDir: 'tmp' }, 'invalid-argument', /working_dir/],
    ['NUL in an argument', { args: ['a\0'] }, 'invalid-argument', /NUL/],
    ['= in an env key', { env: [['A=B', '1']] }, 'invalid-argument', /env key/],
    [
      'unknown capability',
      { capabilities: { add: ['FLY'], drop: [], ambient: [] } },
      'invalid-argument',
      /FLY/,
    ],
    [
      'unknown user',
      { user: { uid: null, gid: null, username: 'bob', supplementalGroups: [], policy: 'merge' } },
      'invalid-argument',
      /bob/,
    ],
    [
      'tricky user id',
      {
        user: { uid: 4294967295, gid: null, username: '', supplementalGroups: [], policy: 'merge' },
      },
      'invalid-argument',
      /4294967295/,
    ],
    [
      'mount over the root',
      {
        mounts: [
          {
            source: '/tmp',
            target: '//',
            readonly: false,
            recursiveReadonly: false,
            propagation: 'private',
          },
        ],
      },
      'invalid-argument',
      /root itself/,
    ],
    [
      'escaping mount',
      {
        mounts: [
          {
            source: '/tmp',
            target: '/a/../../b',
            readonly: false,
            recursiveReadonly: false,
            propagation: 'private',
          },
        ],
      },
      'invalid-argument',
      /container_path/,
    ],
  ];
  for (const [what, change, expected, text] of badContainers) {
    it(`refuses a container with ${what} and leaves nothing of it`, async () => {
      const pod = await runSandbox(context, sandboxRequest());
      const before = node.left();
      await assert.rejects(
        createContainer(context, containerRequest(pod, change)),
        kind(expected, text),
      );
      assert.deepEqual(node.left(), before);
      assert.deepEqual(context.objects.containersOf(context.objects.sandbox(pod).id), []);
    });
  }

  it('undoes a sandbox or container whichever step fails', async () => {
    const steps = [
      'store.saveSandbox',
      'cgroups.make',
      'folders.writeSandboxFile',
      'namespaces.pin',
      'network.attach',
    ];
    for (const step of steps) {
      node.failures.set(step, new Error('boom'));
      await assert.rejects(runSandbox(context, sandboxRequest()), /boom/, step);
      node.failures.clear();
      assert.deepEqual(node.left(), [], step);
    }
    const pod = await runSandbox(context, sandboxRequest());
    const before = node.left();
    for (const step of [
      'store.saveContainer',
      'rootfs.prepare',
      'cgroups.make',
      'folders.makeContainer',
      'rootfs.mount',
      'engine.create',
    ]) {
      node.failures.set(step, new Error('boom'));
      await assert.rejects(createContainer(context, containerRequest(pod)), /boom/, step);
      node.failures.clear();
      assert.deepEqual(node.left(), before, step);
    }
  });

  it('gives the network back when the plugin gave no address', async () => {
    node.ips = [];
    await assert.rejects(runSandbox(context, sandboxRequest()), /no address/);
    assert.deepEqual(node.left(), []);
  });

  it('sets the limits that the host can, and records only those it has set', async () => {
    const resources = {
      cpuShares: 1024,
      cpuQuota: 50_000,
      cpuPeriod: 100_000,
      cpusetCpus: '',
      cpusetMems: '',
      memoryLimitBytes: 1 << 26,
      memorySwapLimitBytes: 0,
      hugepages: [],
      unified: [],
    };
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod, { resources }));
    const { outer } = context.objects.container(id).record.cgroup;
    assert.equal(node.settings.get(`${outer}/memory.max`), String(1 << 26));
    assert.equal(node.settings.get(`${outer}/cpu.weight`), '39');
    assert.equal(node.settings.get(`${outer}/cpu.max`), '50000 100000');
    assert.ok(
      node.calls.lastIndexOf('cgroups.configure') > node.calls.indexOf('engine.create'),
      'the quota comes after the set-up',
    );
    assert.deepEqual(context.objects.container(id).record.resources, resources);
    const more = await createContainer(
      context,
      containerRequest(pod, {
        metadata: { name: 'more', attempt: 0 },
        resources: { ...resources, cpusetCpus: '0' },
      }),
    );
    assert.deepEqual(context.objects.container(more).record.resources, resources);
    const lacking = await createContainer(
      context,
      containerRequest(pod, {
        metadata: { name: 'lacking', attempt: 0 },
        resources: { ...NO_LIMITS, cpusetCpus: '0' },
      }),
    );
    assert.equal(context.objects.container(lacking).record.resources, null);
    assert.ok(node.logged.some((line) => /warn: limits of a container are not set/.test(line)));
  });

  it('runs an init for a shared PID namespace, and is not ready once that has ended', async () => {
    const namespaces = { network: 'pod', pid: 'pod', ipc: 'pod', targetId: '' } as const;
    const pod = await runSandbox(context, sandboxRequest({ namespaces }));
    const id = await createContainer(context, containerRequest(pod, { pid: null }));
    assert.equal(node.shims.get(id)?.spec.namespaces.pid, `/run/ns/${pod}/pid`);
    const own = await createContainer(
      context,
      containerRequest(pod, { pid: 'container', metadata: { name: 'own', attempt: 0 } }),
    );
    assert.equal(node.shims.get(own)?.spec.namespaces.pid, 'new');
    for (const init of node.podInits.values()) init.end();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(context.objects.sandbox(pod).ready, false);
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
    node.failures.set('podInit.start', new Error('boom'));
    await assert.rejects(
      runSandbox(context, sandboxRequest({ namespaces })),
      /start its init.*boom/,
    );
    assert.deepEqual(node.left(), []);
  });

  it('refuses a shared PID namespace where the pod has none', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    await assert.rejects(
      createContainer(context, containerRequest(pod, { pid: 'pod' })),
      kind('invalid-argument', /without a shared PID namespace/),
    );
  });

  it('ends a container whose shim was killed, with an unknown exit', async () => {
    const pod = await runSandbox(context, sandboxRequest());
    const id = await createContainer(context, containerRequest(pod));
    await startContainer(context, id);
    node.killShim(id);
    await context.objects.container(id).ended;
    const { life } = context.objects.container(id);
    assert.equal(life.state === 'exited' && life.exit.exitCode, 255);
    assert.ok(node.calls.includes('cgroups.kill'));
    assert.ok(node.containerRecords.get(id)?.lost, 'the loss is on disk');
    await removeSandbox(context, pod);
    assert.deepEqual(node.left(), []);
  });
});
