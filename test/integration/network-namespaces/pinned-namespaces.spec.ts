import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type ErrorKind, RuntimeError } from '../../../src/core/errors.js';
import { parseSandboxId, type SandboxId } from '../../../src/core/ids.js';
import type { NamespaceRequest } from '../../../src/core/ports/network.js';
import { loadAddon } from '../../../src/native/binding.js';
import { ProcessSpawner, runProcess } from '../../../src/native/process.js';
import { PinnedNamespaces } from '../../../src/network/namespaces.js';
import { mountsBelow, openDescriptors, settlesAt, threads } from '../../support/descriptors.js';
import { makeTempFolder, removeTempFolder } from '../../support/temp.js';

const ALL = ['net', 'ipc', 'uts'] as const;

describe('PinnedNamespaces', () => {
  const addon = loadAddon();
  let spawner: ProcessSpawner;
  let directory: string;
  let namespaces: PinnedNamespaces;
  let id: SandboxId;

  beforeEach(() => {
    spawner = new ProcessSpawner(addon);
    directory = join(makeTempFolder(), 'sandboxes');
    namespaces = new PinnedNamespaces({ addon, directory });
    id = parseSandboxId(randomBytes(32).toString('hex'));
  });

  afterEach(async () => {
    for (const left of await namespaces.list()) await namespaces.unpin(left);
    spawner.close();
    assert.equal(mountsBelow(directory), 0);
    removeTempFolder(join(directory, '..'));
  });

  const request = (more: Partial<NamespaceRequest> = {}): NamespaceRequest => ({
    kinds: ALL,
    hostname: 'pod-1',
    sysctls: [],
    userNamespace: null,
    ...more,
  });

  async function inside(script: string): Promise<string> {
    const flags = ALL.filter((kind) => addon.isNamespace(namespaces.path(id, kind))).map(
      (kind) => `--${kind}=${namespaces.path(id, kind)}`,
    );
    const result = await runProcess(spawner, {
      file: '/usr/bin/nsenter',
      argv: ['nsenter', ...flags, 'sh', '-c', script],
      env: ['PATH=/usr/bin:/bin:/usr/sbin:/sbin'],
    });
    assert.deepEqual(result.status, { code: 0, signal: null }, result.stderr.toString());
    return result.stdout.toString();
  }

  const ofKind = (kind: ErrorKind, text: RegExp) => (error: unknown) =>
    error instanceof RuntimeError && error.kind === kind && text.test(error.message);

  it('pins a network with its loopback up, a host name and an IPC namespace', async () => {
    await namespaces.pin(id, request());
    assert.ok(await namespaces.isPinned(id, ALL));
    assert.deepEqual(await namespaces.list(), [id]);
    assert.equal(await inside('hostname'), 'pod-1\n');
    assert.match(await inside('ip -o link show lo'), /<LOOPBACK,UP,LOWER_UP>/);
    assert.match(await inside('ip -o addr show lo'), /127\.0\.0\.1\/8/);
    assert.equal((await inside('ip -o link')).trim().split('\n').length, 1);
    for (const kind of ALL) {
      const theirs = (await inside(`readlink /proc/self/ns/${kind}`)).trim();
      assert.equal(theirs, `${kind}:[${statSync(namespaces.path(id, kind)).ino}]`);
      assert.notEqual(theirs, readlinkSync(`/proc/self/ns/${kind}`));
    }
    assert.notEqual(hostname(), 'pod-1');
  });

  it('makes only what is asked for', async () => {
    await namespaces.pin(id, request({ kinds: ['uts'] }));
    assert.ok(await namespaces.isPinned(id, ['uts']));
    assert.ok(!(await namespaces.isPinned(id, ['uts', 'net'])));
    assert.equal(
      (await inside('readlink /proc/self/ns/net')).trim(),
      readlinkSync('/proc/self/ns/net'),
    );
  });

  it('makes nothing for a pod that shares all of the host', async () => {
    await namespaces.pin(id, request({ kinds: [] }));
    assert.ok(!existsSync(directory));
    assert.ok(await namespaces.isPinned(id, []));
    await assert.rejects(
      namespaces.pin(id, request({ kinds: [], sysctls: [['net.core.somaxconn', '5']] })),
      ofKind('invalid-argument', /sysctls/),
    );
  });

  it('sets the sysctls of the new namespaces, written either way', async () => {
    await namespaces.pin(
      id,
      request({
        sysctls: [
          ['net.ipv4.ip_unprivileged_port_start', '0'],
          ['net/ipv4/ip_forward', '1'],
          ['net.ipv4.conf.lo.arp_ignore', '2'],
          ['net.ipv4.ping_group_range', '0 2147483647'],
          ['kernel.shm_rmid_forced', '1'],
          ['kernel.sem', '250 32000 100 200'],
          ['kernel.msgmax', '16384'],
          ['fs.mqueue.msg_max', '33'],
        ],
      }),
    );
    const values = await inside(
      `cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start net/ipv4/ip_forward net/ipv4/conf/lo/arp_ignore \
       net/ipv4/ping_group_range kernel/shm_rmid_forced kernel/sem kernel/msgmax fs/mqueue/msg_max`,
    );
    assert.deepEqual(values.trim().split(/\s+/), [
      ...['0', '1', '2', '0', '2147483647', '1', '250', '32000', '100', '200', '16384', '33'],
    ]);
  });

  for (const [key, kinds] of [
    ['vm.swappiness', ALL],
    ['kernel.hostname', ALL],
    ['kernel.core_pattern', ALL],
    ['kernel.shm/../core_pattern', ALL],
    ['net/../kernel/core_pattern', ALL],
    ['net..ipv4', ALL],
    ['net.ipv4.', ALL],
    ['net', ALL],
    ['', ALL],
    ['net.ipv4.ip_forward\n', ALL],
    ['fs.mqueue', ALL],
    ['fs.mqueue.a.b', ALL],
    ['net.ipv4.no_such_thing', ALL],
    ['net.ipv4.ip_forward', ['ipc', 'uts']],
    ['kernel.msgmax', ['net']],
    ['fs.mqueue.msg_max', ['net', 'uts']],
  ] as [string, NamespaceRequest['kinds']][]) {
    it(`refuses the sysctl ${JSON.stringify(key)} with ${kinds.join(', ')}, and leaves nothing`, async () => {
      await assert.rejects(
        namespaces.pin(id, request({ kinds, sysctls: [[key, '1']] })),
        ofKind('invalid-argument', new RegExp(id)),
      );
      assert.deepEqual(readdirSync(directory), []);
    });
  }

  it('refuses a value the kernel does not take, and a host name too long', async () => {
    await assert.rejects(
      namespaces.pin(id, request({ sysctls: [['net.ipv4.ip_forward', 'many']] })),
      ofKind('invalid-argument', /ip_forward/),
    );
    await assert.rejects(
      namespaces.pin(id, request({ hostname: 'h'.repeat(65) })),
      ofKind('invalid-argument', /sethostname/),
    );
    assert.deepEqual(readdirSync(directory), []);
  });

  it('will not pin twice, and keeps the first', async () => {
    await namespaces.pin(id, request());
    const before = statSync(namespaces.path(id, 'net')).ino;
    await assert.rejects(namespaces.pin(id, request()), ofKind('already-exists', new RegExp(id)));
    assert.equal(statSync(namespaces.path(id, 'net')).ino, before);
  });

  it('takes over what a killed agent left: files, and only some of them mounted', async () => {
    await namespaces.pin(id, request());
    addon.unmount(namespaces.path(id, 'uts'));
    assert.ok(!(await namespaces.isPinned(id, ALL)));
    assert.deepEqual(await namespaces.list(), [id]);
    await namespaces.unpin(id);
    assert.deepEqual(readdirSync(directory), []);
    mkdirSync(join(directory, id, 'ns'), { recursive: true });
    writeFileSync(namespaces.path(id, 'net'), '');
    await namespaces.pin(id, request());
    assert.ok(await namespaces.isPinned(id, ALL));
  });

  it('unpins idempotently, and leaves what others keep beside', async () => {
    await namespaces.unpin(id);
    await namespaces.pin(id, request());
    writeFileSync(join(directory, id, 'hosts'), '');
    await namespaces.unpin(id);
    await namespaces.unpin(id);
    assert.deepEqual(readdirSync(join(directory, id)), ['hosts']);
    assert.deepEqual(await namespaces.list(), []);
    assert.ok(!(await namespaces.isPinned(id, ['net'])));
  });

  it('lists only its own', async () => {
    mkdirSync(join(directory, 'not-an-id/ns'), { recursive: true });
    mkdirSync(join(directory, id), { recursive: true });
    assert.deepEqual(await namespaces.list(), []);
  });

  it('keeps two agents with folders of their own apart', async () => {
    const other = new PinnedNamespaces({ addon, directory: join(directory, '../other') });
    await namespaces.pin(id, request());
    await other.pin(id, request({ hostname: 'other' }));
    await other.unpin(id);
    assert.ok(await namespaces.isPinned(id, ALL));
  });

  it('pins many at once, each its own, and leaks nothing', async () => {
    const ids = Array.from({ length: 20 }, () => parseSandboxId(randomBytes(32).toString('hex')));
    const before = [openDescriptors(), threads()] as const;
    await Promise.all(ids.map((each) => namespaces.pin(each, request())));
    const inodes = new Set(ids.map((each) => statSync(namespaces.path(each, 'net')).ino));
    assert.equal(inodes.size, 20);
    await Promise.all(ids.map((each) => namespaces.unpin(each)));
    assert.ok(await settlesAt(openDescriptors, before[0]));
    assert.ok(await settlesAt(threads, before[1]));
  });

  it('tells the counters of the interfaces in many, and leaves out what cannot be entered', async () => {
    await namespaces.pin(id, request());
    await inside('ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up');
    await inside('ip addr add 10.9.9.1/24 dev d0; busybox ping -c 1 -W 1 10.9.9.2 || true');
    const none = parseSandboxId(randomBytes(32).toString('hex'));
    const host = join(directory, none, 'ns');
    const descriptors = openDescriptors();
    const found = await namespaces.interfaces([none, id, id]);
    assert.deepEqual([...found.keys()], [id]);
    const reading = found.get(id);
    assert.ok(reading && Date.now() * 1e6 - Number(reading.timestamp) < 60e9);
    assert.deepEqual(
      reading.interfaces.map(({ name }) => name).sort(),
      ['d0', 'd1'],
      'no loopback',
    );
    const of = (name: string) => reading.interfaces.find((each) => each.name === name)!;
    assert.ok(of('d0').txBytes > 0 && of('d1').rxBytes > 0);
    assert.deepEqual([of('d0').rxErrors, of('d0').txErrors], [0, 0]);
    const shown = JSON.parse(await inside('ip -j -s link show d0')) as {
      stats64: { tx: { bytes: number } };
    }[];
    assert.ok(of('d0').txBytes <= shown[0]!.stats64.tx.bytes);
    // A file that is no namespace, or one of another kind.
    mkdirSync(host, { recursive: true });
    writeFileSync(join(host, 'net'), '');
    assert.deepEqual([...(await namespaces.interfaces([none])).keys()], []);
    assert.deepEqual(await addon.interfaceCounters([namespaces.path(id, 'uts')]), [null]);
    // Nothing of it is held: the namespace ends with its pin.
    assert.ok(await settlesAt(openDescriptors, descriptors));
    assert.ok((await addon.interfaceCounters(['/proc/self/ns/net']))[0]);
  });

  it('reads hundreds of interfaces of one namespace', async () => {
    await namespaces.pin(id, request());
    await inside('seq 100 | sed "s/.*/link add a& type veth peer name b&/" | ip -batch -');
    const { interfaces = [] } = (await namespaces.interfaces([id])).get(id) ?? {};
    assert.equal(new Set(interfaces.map(({ name }) => name)).size, 200);
  });
});
