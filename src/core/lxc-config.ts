/** The liblxc configuration of one container, as text. Everything else is done by the shim pair. */
import { RuntimeError } from './errors.js';
import type { ContainerSpec } from './model.js';

/** The spot where the monitor attaches the root, kRootfs in native/shim/monitor.cc. */
export const ROOTFS_SPOT = '/run/lxc/rootfs';
/** The monitor keeps the host's network namespace open there, kHostNetworkFd in native/common/gate.h. */
export const HOST_NETWORK_FD = 10;

export interface LxcConfigOptions {
  /** Whether this host has AppArmor: liblxc refuses the key where it does not. */
  appArmor: boolean;
}

type SharedNamespace = keyof ContainerSpec['namespaces'];
const LXC_NAMES: readonly [SharedNamespace, string][] = [
  ['network', 'net'],
  ['ipc', 'ipc'],
  ['uts', 'uts'],
  ['pid', 'pid'],
];

/** Throws invalid-argument for a value that would not stay on its line or be read back as it is. */
export function buildLxcConfig(spec: ContainerSpec, options: LxcConfigOptions): string {
  const clone = ['mnt', 'cgroup'];
  const lines: [key: string, value: string][] = [
    ['lxc.rootfs.path', `dir:${ROOTFS_SPOT}`],
    ['lxc.rootfs.mount', ROOTFS_SPOT],
    ['lxc.rootfs.managed', '0'],
    // The payload's stdio comes over the gate: liblxc shall neither make nor want a terminal.
    ['lxc.console.path', 'none'],
    ['lxc.tty.max', '0'],
    ['lxc.pty.max', '1024'],
    ['lxc.autodev', '1'],
    // The held init masks paths itself; force mounts cgroup2 although the payload could do so too.
    [
      'lxc.mount.auto',
      spec.privileged ? 'proc:rw sys:rw cgroup:rw:force' : 'proc:rw sys:ro cgroup:ro:force',
    ],
    ['lxc.monitor.signal.pdeath', 'SIGKILL'],
    ['lxc.cgroup.relative', '0'],
    ['lxc.cgroup.dir.container', `${cgroupPath(spec.cgroup.outer)}/lxc`],
    ['lxc.cgroup.dir.monitor', cgroupPath(spec.cgroup.monitor)],
    ['lxc.cgroup.dir.monitor.pivot', cgroupPath(spec.cgroup.pivot)],
    // liblxc takes death by SIGHUP, or reboot(2), for a wish to be started again; a failing hook is its
    // one veto. It runs `exec HOOK ARGUMENTS` in a shell, hence the redirection and the comment sign.
    ['lxc.hook.post-stop', '3>&-; test "$LXC_TARGET" != reboot #'],
  ];
  if (spec.userNamespace !== null) {
    const { path, map } = spec.userNamespace;
    lines.push(['lxc.namespace.share.user', path]);
    // The namespace has its maps already: by these liblxc knows that it is in one.
    for (const [kind, { containerId, hostId, length }] of [
      ['u', map.uids],
      ['g', map.gids],
    ] as const) {
      lines.push(['lxc.idmap', `${kind} ${containerId} ${hostId} ${length}`]);
    }
  }
  for (const [kind, name] of LXC_NAMES) {
    const wanted = spec.namespaces[kind];
    if (wanted === 'new') clone.push(name);
    else if (wanted !== 'host') lines.push([`lxc.namespace.share.${name}`, wanted]);
    // The monitor itself sits in a network namespace of its own, so the host's is joined by path.
    else if (kind === 'network')
      lines.push([`lxc.namespace.share.${name}`, `/proc/self/fd/${HOST_NETWORK_FD}`]);
  }
  // Always explicit: without it liblxc would choose, and `keep` would clone user and time too.
  lines.push(['lxc.namespace.clone', clone.join(' ')]);
  if (options.appArmor) lines.push(['lxc.apparmor.profile', 'unchanged']);
  return lines.map(([key, value]) => `${key} = ${checkValue(key, value)}\n`).join('');
}

function cgroupPath(path: string): string {
  const parts = path.split('/').slice(1);
  if (!path.startsWith('/') || parts.some((part) => part === '' || part === '.' || part === '..'))
    throw new RuntimeError(
      'invalid-argument',
      `cgroup ${JSON.stringify(path)} is malformed: expected an absolute path without empty, "." or ".." parts`,
    );
  return parts.join('/');
}

function checkValue(key: string, value: string): string {
  // liblxc trims white space and takes a pair of enclosing quotes off.
  if (/[\u0000-\u001f\u007f]|^\s|\s$|^['"]/u.test(value) || value === '')
    throw new RuntimeError(
      'invalid-argument',
      `value ${JSON.stringify(value.slice(0, 200))} of ${key} is malformed: it may not be empty, contain control characters, or begin or end with white space or a quote`,
    );
  return value;
}
