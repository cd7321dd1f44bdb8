/** The AppArmor profile of containers that ask for none of their own, as text for apparmor_parser. */

export const DEFAULT_APPARMOR_PROFILE = 'pvecri-default';
/** What loads it. */
export const APPARMOR_PARSER = '/sbin/apparmor_parser';

/**
 * What container runtimes share: everything within the container, but no mounts, nothing of the kernel's
 * interfaces that reaches the host, and no look at processes that are not under it. `deny` also holds for
 * a container that has the capability.
 *
 * The abi is declared because without one the parser takes what the host's parser.conf pins, and later
 * kernels then deny sockets that no rule is about. 3.0 is in every version since Debian 11; what came
 * after it (user namespaces, io_uring, message queues) is thereby not mediated, here as there.
 *
 * Disconnected paths are attached because the held init is a memory file (native/traps.md).
 */
export const DEFAULT_APPARMOR_TEXT = `abi <abi/3.0>,

profile ${DEFAULT_APPARMOR_PROFILE} flags=(attach_disconnected,mediate_deleted) {
  capability,
  dbus,
  file,
  network,
  umount,
  unix,

  # The agent's signals, and those among the processes of containers.
  signal (receive) peer=unconfined,
  signal (send, receive) peer=${DEFAULT_APPARMOR_PROFILE},
  ptrace (trace, read, tracedby, readby) peer=${DEFAULT_APPARMOR_PROFILE},

  deny mount,

  # Of /proc only the folders of processes, and of its sysctls only those of System V shared memory,
  # which the container's own IPC namespace holds; net is left to the capability.
  deny /proc/* w,
  deny /proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # Of /sys only the container's cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`;
