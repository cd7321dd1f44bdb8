/** Checks of the kernel: version, filesystems, namespaces, security, cgroups. */
import { APPARMOR_PARSER, DEFAULT_APPARMOR_PROFILE } from '../../core/apparmor-profile.js';
import { ok, problem, warning } from './check.js';
import type { Finding } from './check.js';
import type { HostView } from './host-view.js';

/** clone3 into a cgroup (5.7), openat2 (5.6), the mount API (5.2), overlay's userxattr (5.11), cgroup.kill. */
const NEEDED_KERNEL = [5, 14] as const;
/** Debian 12's; older ones are not tested. */
const TESTED_KERNEL = [6, 1] as const;
const NAMESPACES = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts'];
const CONTROLLERS = ['cpu', 'memory', 'pids', 'io', 'cpuset', 'hugetlb'];
const UNPACK_NEEDS_USERNS = 1;

export async function kernelChecks(host: HostView): Promise<Finding[]> {
  return [
    root(host),
    kernel(host),
    await overlay(host),
    await namespaces(host),
    await cgroups(host),
    await seccomp(host),
    await appArmor(host),
    await clock(host),
  ];
}

function root(host: HostView): Finding {
  if (host.uid === 0) return ok('root', 'running as root');
  return problem(
    'root',
    `running as user ${host.uid}: the agent's socket and much of what follows need root`,
    'run it by: sudo pvecri doctor',
  );
}

function kernel(host: HostView): Finding {
  const version = /^(\d+)\.(\d+)/.exec(host.kernel);
  const [major, minor] = [Number(version?.[1] ?? 0), Number(version?.[2] ?? 0)];
  const isAtLeast = ([x, y]: readonly [number, number]): boolean =>
    major > x || (major === x && minor >= y);
  if (!isAtLeast(NEEDED_KERNEL)) {
    return problem(
      'kernel',
      `Linux ${host.kernel} is too old: cgroup.kill, openat2, clone3 and the mount API are needed, all there since ${NEEDED_KERNEL.join('.')}`,
      'upgrade to Debian 12 or Proxmox VE 8, or newer',
    );
  }
  if (!isAtLeast(TESTED_KERNEL)) {
    return warning(
      'kernel',
      `Linux ${host.kernel} should do, but is older than what is tested (${TESTED_KERNEL.join('.')})`,
      'upgrade to Debian 12 or Proxmox VE 8, or newer',
    );
  }
  return ok('kernel', `Linux ${host.kernel}`);
}

async function overlay(host: HostView): Promise<Finding> {
  const known = (await host.read('/proc/filesystems')) ?? '';
  if (/^nodev\toverlay$/m.test(known)) return ok('overlayfs', 'available');
  return problem(
    'overlayfs',
    'the kernel does not list it in /proc/filesystems: root filesystems need it',
    'load it by: modprobe overlay; and at each boot: echo overlay > /etc/modules-load.d/pvecri.conf',
  );
}

async function namespaces(host: HostView): Promise<Finding> {
  const present = (await host.list('/proc/self/ns')) ?? [];
  const missing = NAMESPACES.filter((name) => !present.includes(name));
  if (missing.length > 0) {
    return problem(
      'namespaces',
      `the kernel lacks these kinds: ${missing.join(', ')}`,
      'boot a kernel of Debian or Proxmox VE',
    );
  }
  const most = Number((await host.read('/proc/sys/user/max_user_namespaces'))?.trim() ?? '0');
  if (most >= UNPACK_NEEDS_USERNS) return ok('namespaces', 'all kinds, user namespaces included');
  return problem(
    'namespaces',
    'user namespaces are switched off (user.max_user_namespaces is 0): image layers are unpacked in one',
    'allow them by: sysctl user.max_user_namespaces=15000',
  );
}

async function cgroups(host: HostView): Promise<Finding> {
  const mountinfo = (await host.read('/proc/self/mountinfo')) ?? '';
  const points = mountPoints(mountinfo, 'cgroup2');
  const point = points.find((path) => path === '/sys/fs/cgroup') ?? points[0];
  if (point === undefined) {
    return problem(
      'cgroups',
      'cgroup v2 is not mounted',
      'boot without systemd.unified_cgroup_hierarchy=0 on the kernel command line',
    );
  }
  const there = ((await host.read(`${point}/cgroup.controllers`)) ?? '').trim().split(/\s+/);
  const missing = CONTROLLERS.filter((name) => !there.includes(name));
  if (missing.length === 0) return ok('cgroups', `cgroup v2 at ${point} with all controllers`);
  const isHybrid = mountPoints(mountinfo, 'cgroup').length > 0;
  return warning(
    'cgroups',
    `cgroup v2 at ${point} lacks ${missing.join(', ')}${isHybrid ? ', which are bound to cgroup v1 (hybrid layout)' : ''}: pods run, but without these limits and statistics`,
    isHybrid
      ? 'boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line'
      : 'boot a kernel that has them, or without cgroup_disable= on its command line',
  );
}

/** proc_pid_mountinfo(5): the type stands behind the lone dash. */
function mountPoints(mountinfo: string, type: string): string[] {
  return mountinfo.split('\n').flatMap((line) => {
    const fields = line.split(' ');
    const at = fields.indexOf('-', 6);
    return at > 0 && fields[at + 1] === type ? [fields[4] ?? ''] : [];
  });
}

async function seccomp(host: HostView): Promise<Finding> {
  const actions = (await host.read('/proc/sys/kernel/seccomp/actions_avail')) ?? '';
  if (actions.split(/\s+/).includes('errno')) return ok('seccomp', 'filters are available');
  return problem(
    'seccomp',
    'the kernel has no seccomp filters: containers could make every system call',
    'boot a kernel of Debian or Proxmox VE',
  );
}

async function appArmor(host: HostView): Promise<Finding> {
  const enabled = (await host.read('/sys/module/apparmor/parameters/enabled'))?.trim();
  if (enabled === 'Y') {
    const loaded = (await host.read('/sys/kernel/security/apparmor/profiles')) ?? '';
    if (loaded.split('\n').some((line) => line.startsWith(`${DEFAULT_APPARMOR_PROFILE} (`))) {
      return ok('apparmor', `enabled, profile ${DEFAULT_APPARMOR_PROFILE} is loaded`);
    }
    if (await host.isExecutable(APPARMOR_PARSER)) {
      return ok('apparmor', `enabled; the agent loads profile ${DEFAULT_APPARMOR_PROFILE}`);
    }
    return warning(
      'apparmor',
      `enabled in the kernel, but ${APPARMOR_PARSER} is missing: containers that name no profile have none`,
      'install it by: apt install apparmor',
    );
  }
  return warning(
    'apparmor',
    'not enabled in the kernel: containers are confined by namespaces, capabilities and seccomp alone',
    'boot with apparmor=1 security=apparmor on the kernel command line',
  );
}

const CLOCK_SERVICES: readonly [path: string, name: string][] = [
  ['/run/systemd/timesync/synchronized', 'systemd-timesyncd'],
  ['/run/chrony/chronyd.pid', 'chrony'],
  ['/run/chronyd.pid', 'chrony'],
  ['/run/ntpd.pid', 'ntpd'],
];
/** No machine that has this program can be older. */
const PAST = new Date('2026-01-01T00:00:00Z');

async function clock(host: HostView): Promise<Finding> {
  const now = host.now.toISOString();
  if (host.now < PAST) {
    return problem(
      'clock',
      `it says ${now}, which is in the past: certificates of registries will not be valid`,
      'set it by: timedatectl set-ntp true',
    );
  }
  for (const [path, name] of CLOCK_SERVICES) {
    if ((await host.read(path)) !== undefined) return ok('clock', `kept by ${name}`);
  }
  return warning(
    'clock',
    `it says ${now}, and no service was found that keeps it right`,
    'install one by: apt install chrony',
  );
}
