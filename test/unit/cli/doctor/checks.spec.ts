/** What doctor says of hosts that lack one thing each. */
import assert from 'node:assert/strict';
import { configSchema, type Config } from '../../../../src/config/schema.js';
import { cgroupDriverChecks } from '../../../../src/cli/doctor/cgroup-driver-check.js';
import type { Finding } from '../../../../src/cli/doctor/check.js';
import type { DiskSpace, HostView } from '../../../../src/cli/doctor/host-view.js';
import { realHost } from '../../../../src/cli/doctor/host-view.js';
import { kernelChecks } from '../../../../src/cli/doctor/kernel-checks.js';
import { storageChecks } from '../../../../src/cli/doctor/storage-checks.js';
import { softwareChecks } from '../../../../src/cli/doctor/software-checks.js';

const config = configSchema.parse({});
const GIB = 1024 ** 3;
const V2 = '30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n';
const HYBRID =
  '31 1 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n' +
  '32 1 0:28 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 cgroup2 rw\n';
const CONFLIST = JSON.stringify({
  name: 'pods',
  plugins: [{ type: 'bridge', ipMasq: true, ipam: { type: 'host-local' } }, { type: 'portmap' }],
});
const DPKG =
  'Package: other\nStatus: install ok installed\nVersion: 1\n\n' +
  'Package: liblxc1t64\nStatus: install ok installed\nVersion: 1:6.0.4-4\n\n';

/** A good host: Proxmox VE 9 with everything in place. */
interface FakeHost {
  uid: number;
  kernel: string;
  now: Date;
  files: Record<string, string | undefined>;
  folders: Record<string, string[] | undefined>;
  programs: string[];
  disk: DiskSpace | undefined;
  config: Config;
}

function goodHost(): FakeHost {
  return {
    uid: 0,
    kernel: '6.14.8-2-pve',
    now: new Date('2026-11-23T14:00:00Z'),
    files: {
      '/proc/filesystems': 'nodev\tsysfs\nnodev\toverlay\n\text4\n',
      '/proc/sys/user/max_user_namespaces': '127000\n',
      '/proc/self/mountinfo': V2,
      '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory hugetlb pids rdma misc\n',
      '/sys/fs/cgroup/unified/cgroup.controllers': 'hugetlb\n',
      '/proc/sys/kernel/seccomp/actions_avail': 'kill_process kill_thread trap errno log allow\n',
      '/sys/module/apparmor/parameters/enabled': 'Y\n',
      '/sys/kernel/security/apparmor/profiles': 'man_groff (enforce)\npvecri-default (enforce)\n',
      '/run/chrony/chronyd.pid': '700\n',
      '/var/lib/dpkg/status': DPKG,
      '/etc/cni/net.d/10-pods.conflist': CONFLIST,
    },
    folders: {
      '/proc/self/ns': ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'time', 'user', 'uts'],
      '/usr/lib/x86_64-linux-gnu': ['liblxc.so.1'],
      '/etc/cni/net.d': ['.hidden.conf', '10-pods.conflist', 'README'],
    },
    programs: [
      '/opt/cni/bin/bridge',
      '/usr/lib/cni/host-local',
      '/usr/lib/cni/portmap',
      '/usr/sbin/iptables',
    ],
    disk: { totalBytes: 100 * GIB, freeBytes: 50 * GIB, totalInodes: 1e6, freeInodes: 9e5 },
    config,
  };
}

async function findings(change: (host: FakeHost) => void): Promise<Finding[]> {
  const host = goodHost();
  change(host);
  const view: HostView = {
    uid: host.uid,
    kernel: host.kernel,
    now: host.now,
    read: (path) => Promise.resolve(host.files[path]),
    list: (path) => Promise.resolve(host.folders[path]),
    isExecutable: (path) => Promise.resolve(host.programs.includes(path)),
    space: () => Promise.resolve(host.disk),
  };
  return [
    ...(await kernelChecks(view)),
    ...(await cgroupDriverChecks(view, host.config)),
    ...(await storageChecks(view, host.config)),
    ...(await softwareChecks(view, host.config)),
  ];
}

const bad = (list: readonly Finding[]): Finding[] => list.filter(({ verdict }) => verdict !== 'ok');

describe('doctor', () => {
  it('finds nothing wrong with a good host', async () => {
    const list = await findings(() => undefined);
    assert.deepEqual(bad(list), []);
    assert.deepEqual(
      list.map(({ check }) => check),
      [
        'root',
        'kernel',
        'overlayfs',
        'namespaces',
        'cgroups',
        'seccomp',
        'apparmor',
        'clock',
        'liblxc',
        'cni network',
        'cni plugins',
        'disk',
      ],
    );
  });

  const cases: [what: string, (host: FakeHost) => void, Partial<Finding>, RegExp][] = [
    [
      'another user',
      (host) => (host.uid = 1000),
      { check: 'root', verdict: 'problem' },
      /user 1000/,
    ],
    [
      'an old kernel',
      (host) => (host.kernel = '5.10.0-30-amd64'),
      { check: 'kernel', verdict: 'problem' },
      /5\.10.*5\.14/,
    ],
    [
      'an untested kernel',
      (host) => (host.kernel = '5.15.0'),
      { check: 'kernel', verdict: 'warning' },
      /5\.15/,
    ],
    [
      'a kernel of no known form',
      (host) => (host.kernel = 'x'),
      { check: 'kernel', verdict: 'problem' },
      /too old/,
    ],
    [
      'no overlayfs',
      (host) => (host.files['/proc/filesystems'] = 'nodev\tfuse.overlay\n'),
      { check: 'overlayfs', verdict: 'problem' },
      /proc\/filesystems/,
    ],
    [
      'no user namespaces',
      (host) => (host.files['/proc/sys/user/max_user_namespaces'] = '0\n'),
      { check: 'namespaces', verdict: 'problem' },
      /switched off/,
    ],
    [
      'a kernel without a kind of namespace',
      (host) => host.folders['/proc/self/ns']?.splice(0, 1),
      { check: 'namespaces', verdict: 'problem' },
      /cgroup/,
    ],
    [
      'a hybrid layout',
      (host) => (host.files['/proc/self/mountinfo'] = HYBRID),
      { check: 'cgroups', verdict: 'warning' },
      /unified lacks cpu, memory, pids, io, cpuset, which are bound to cgroup v1/,
    ],
    [
      'no cgroup v2',
      (host) => (host.files['/proc/self/mountinfo'] = ''),
      { check: 'cgroups', verdict: 'problem' },
      /not mounted/,
    ],
    [
      'a controller that is switched off',
      (host) => (host.files['/sys/fs/cgroup/cgroup.controllers'] = 'cpuset cpu io hugetlb pids'),
      { check: 'cgroups', verdict: 'warning' },
      /lacks memory: /,
    ],
    [
      'no seccomp',
      (host) => (host.files['/proc/sys/kernel/seccomp/actions_avail'] = undefined),
      { check: 'seccomp', verdict: 'problem' },
      /no seccomp/,
    ],
    [
      'no AppArmor',
      (host) => (host.files['/sys/module/apparmor/parameters/enabled'] = 'N\n'),
      { check: 'apparmor', verdict: 'warning' },
      /not enabled/,
    ],
    [
      'AppArmor without its parser',
      (host) => (host.files['/sys/kernel/security/apparmor/profiles'] = 'pvecri-default-2 (x)\n'),
      { check: 'apparmor', verdict: 'warning' },
      /apparmor_parser is missing/,
    ],
    [
      'a clock nobody keeps',
      (host) => (host.files['/run/chrony/chronyd.pid'] = undefined),
      { check: 'clock', verdict: 'warning' },
      /2026-11-23/,
    ],
    [
      'a clock in the past',
      (host) => (host.now = new Date(0)),
      { check: 'clock', verdict: 'problem' },
      /1970/,
    ],
    [
      'no liblxc',
      (host) => (host.folders['/usr/lib/x86_64-linux-gnu'] = []),
      { check: 'liblxc', verdict: 'problem' },
      /not installed/,
    ],
    [
      'an old liblxc',
      (host) => (host.files['/var/lib/dpkg/status'] = DPKG.replace('1:6.0.4-4', '1:4.0.6')),
      { check: 'liblxc', verdict: 'problem' },
      /4\.0\.6/,
    ],
    [
      'no network',
      (host) => (host.folders['/etc/cni/net.d'] = undefined),
      { check: 'cni network', verdict: 'problem' },
      /no network configuration in \/etc\/cni\/net\.d/,
    ],
    [
      'a missing plugin',
      (host) => host.programs.shift(),
      { check: 'cni plugins', verdict: 'problem' },
      /names bridge, and/,
    ],
    [
      'a missing address plugin',
      (host) => host.programs.splice(1, 1),
      { check: 'cni plugins', verdict: 'problem' },
      /names host-local, and/,
    ],
    [
      'no iptables',
      (host) => host.programs.pop(),
      { check: 'iptables', verdict: 'problem' },
      /iptables/,
    ],
    [
      'a full disk',
      (host) => (host.disk = { totalBytes: GIB, freeBytes: 1000, totalInodes: 0, freeInodes: 0 }),
      { check: 'disk', verdict: 'problem' },
      /1000B of 1\.0GiB free/,
    ],
    [
      'a disk that gets full',
      (host) =>
        (host.disk = { totalBytes: 100 * GIB, freeBytes: 3 * GIB, totalInodes: 0, freeInodes: 0 }),
      { check: 'disk', verdict: 'warning' },
      /3\.0GiB of 100GiB free/,
    ],
    [
      'a disk without inodes',
      (host) =>
        (host.disk = {
          totalBytes: 100 * GIB,
          freeBytes: 50 * GIB,
          totalInodes: 1e6,
          freeInodes: 5,
        }),
      { check: 'disk', verdict: 'problem' },
      /inodes/,
    ],
  ];
  for (const [what, change, expected, message] of cases) {
    it(`finds ${what}, and says how to mend it`, async () => {
      const [finding, ...others] = bad(await findings(change));
      assert.ok(finding);
      assert.deepEqual(others, []);
      assert.equal(finding.check, expected.check);
      assert.equal(finding.verdict, expected.verdict);
      assert.match(finding.message, message);
      assert.notEqual(finding.remedy, '');
    });
  }

  it('goes on behind a network file that is broken', async () => {
    const list = await findings((host) => {
      host.folders['/etc/cni/net.d'] = ['05-broken.conf', '10-pods.conflist'];
      host.files['/etc/cni/net.d/05-broken.conf'] = '{';
    });
    assert.deepEqual(
      bad(list).map(({ check, verdict }) => [check, verdict]),
      [['cni network', 'warning']],
    );
    assert.ok(list.some(({ message }) => message === '/etc/cni/net.d/10-pods.conflist'));
  });
});

describe('doctor, of the systemd cgroup driver,', () => {
  const withSystemd = (change: (host: FakeHost) => void) =>
    findings((host) => {
      host.config = configSchema.parse({ cgroup: { driver: 'systemd' } });
      host.folders['/run/systemd/system'] = [];
      change(host);
    });

  it('finds nothing wrong where systemd runs a host of cgroup v2', async () => {
    const list = await withSystemd(() => undefined);
    assert.deepEqual(bad(list), []);
    assert.ok(list.some(({ check }) => check === 'cgroup driver'));
  });

  it('misses systemd as init, and the unified hierarchy', async () => {
    const of = async (change: (host: FakeHost) => void) =>
      bad(await withSystemd(change)).find(({ check }) => check === 'cgroup driver');
    const noInit = await of(({ folders }) => delete folders['/run/systemd/system']);
    assert.match(noInit?.message ?? '', /systemd does not run this host/);
    const hybrid = await of(({ files }) => {
      files['/proc/self/mountinfo'] = HYBRID;
      delete files['/sys/fs/cgroup/cgroup.controllers'];
    });
    assert.match(hybrid?.message ?? '', /not cgroup v2 alone/);
    assert.match(hybrid?.remedy ?? '', /unified_cgroup_hierarchy=1/);
  });
});

describe('doctor, of the storage,', () => {
  const withThin = (change: (host: FakeHost) => void) =>
    findings((host) => {
      const thin = { volume_group: 'pve', pool: 'data' };
      host.config = configSchema.parse({ rootfs: { driver: 'lvm-thin', lvm_thin: thin } });
      host.programs.push('/usr/sbin/lvcreate', '/usr/sbin/thin_check', '/usr/sbin/mkfs.ext4');
      host.folders['/sys/module/dm_thin_pool'] = [];
      change(host);
    });

  it('finds nothing wrong where programs, keys and kernel are there', async () => {
    const list = await withThin(() => undefined);
    assert.deepEqual(bad(list), []);
    assert.ok(list.some(({ check }) => check === 'storage'));
  });

  it('misses a program, a module, and a key', async () => {
    const list = await withThin((host) => {
      host.config = configSchema.parse({ rootfs: { driver: 'zfs' } });
    });
    assert.deepEqual(
      bad(list).map(({ remedy }) => remedy),
      ['set rootfs.zfs.dataset: docs/storage.md', 'apt-get install zfsutils-linux', 'modprobe zfs'],
    );
  });
});

describe('realHost', () => {
  it('sees this host', async () => {
    const host = realHost();
    assert.match((await host.read('/proc/filesystems')) ?? '', /sysfs/);
    assert.equal(await host.read('/proc/nothing'), undefined);
    assert.ok((await host.list('/proc/self/ns'))?.includes('mnt'));
    assert.equal(await host.isExecutable('/bin/sh'), true);
    assert.equal(await host.isExecutable('/etc/passwd-'), false);
    const space = await host.space('/tmp/not/made/yet');
    assert.ok(space && space.totalBytes >= space.freeBytes && space.totalBytes > 0);
  });
});
