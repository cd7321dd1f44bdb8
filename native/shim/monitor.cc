// liblxc's side of a container: namespaces of the monitor's own, then a foreground start.
#include "shim/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <lxc/lxccontainer.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/gate.h"
#include "common/process.h"
#include "common/syscalls.h"

namespace pvecri {
namespace {

// A tmpfs here, in the monitor's mount namespace alone, takes liblxc's lock files (it never removes
// them) and the mount point of the root. src/core/lxc-config.ts names kRootfs.
constexpr char kPrivate[] = "/run/lxc";
constexpr char kRootfs[] = "/run/lxc/rootfs";
constexpr char kCgroup[] = "/sys/fs/cgroup";
constexpr int kResultFd = 13;

[[noreturn]] void Die(const char* step) {
  // Standard error is the shim's log, where the agent looks for the reason.
  fprintf(stderr, "ERROR monitor: %s: %s\n", step, strerror(errno));
  ::_exit(EXIT_FAILURE);
}

// Descriptors that liblxc and the held init find at fixed numbers; all others but stdio are closed.
void PlaceFds(const MonitorFds& fds, int host_network) {
  struct Place {
    int from;
    int to;
    int flags;
  } places[] = {{host_network, kHostNetworkFd, O_CLOEXEC},
                {fds.gate, kGateFd, 0},
                {fds.init, kInitFd, O_CLOEXEC},
                {fds.result, kResultFd, O_CLOEXEC}};
  // First out of each other's way, then into place.
  for (Place& place : places) {
    place.from = ::fcntl(place.from, F_DUPFD_CLOEXEC, kResultFd + 1);
    if (place.from < 0) Die("descriptor");
  }
  for (const Place& place : places) {
    if (::dup3(place.from, place.to, place.flags) < 0) Die("descriptor");
  }
  (void)CloseRange(3, kHostNetworkFd - 1, 0);
  (void)CloseRange(kResultFd + 1, ~0u, 0);
}

void BuildMountNamespace(const ShimSpec& spec, int rootfs) {
  if (::mkdir(kPrivate, 0755) != 0 && errno != EEXIST) Die("mkdir /run/lxc");
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) Die("unshare");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) Die("slave mounts");
  if (::mount("tmpfs", kPrivate, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") != 0) {
    Die("tmpfs on /run/lxc");
  }
  if (::mkdir(kRootfs, 0755) != 0) Die("mkdir rootfs");
  if (::move_mount(rootfs, "", AT_FDCWD, kRootfs, MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    Die("attach rootfs");
  }
  // Where v1 hierarchies are about, liblxc would make a cgroup in each of them; what it sees here
  // is version 2 alone.
  struct statfs filesystem;
  if (::statfs(kCgroup, &filesystem) != 0 || filesystem.f_type != CGROUP2_SUPER_MAGIC) {
    if (::mount(spec.cgroup_root, kCgroup, nullptr, MS_BIND, nullptr) != 0) Die("bind cgroup2");
  }
}

}  // namespace

void RunMonitor(const ShimSpec& spec, const MonitorFds& fds, int shim_pid) {
  ResetSignals();
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) Die("death signal");
  if (::getppid() != shim_pid) ::_exit(EXIT_FAILURE);
  (void)::prctl(PR_SET_NAME, "pvecri-monitor", 0, 0, 0);
  int host_network = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (host_network < 0) Die("host network namespace");
  BuildMountNamespace(spec, fds.rootfs);
  PlaceFds(fds, host_network);

  // Where liblxc finds newuidmap it wants ranges in /etc/subuid, even of root; the kubelet's ranges
  // need not be there.
  if (spec.user_namespace && ::setenv("PATH", "/nonexistent", 1) != 0) Die("PATH");
  lxc_log log = {spec.id, kPrivate, "shim.log", "ERROR", "", true};
  if (lxc_log_init(&log) != 0) Die("log");
  lxc_container* container = lxc_container_new(spec.id, kPrivate);
  if (!container) Die("lxc_container_new");
  if (!container->load_config(container, "config")) Die("load config");
  container->want_daemonize(container, false);
  char init[32];
  snprintf(init, sizeof(init), "/proc/self/fd/%d", kInitFd);
  char* const argv[] = {init, nullptr};
  MonitorResult result = {};
  result.started = container->start(container, 0, argv);
  result.error_num = container->error_num;
  (void)!::write(kResultFd, &result, sizeof(result));
  ::_exit(EXIT_SUCCESS);
}

}  // namespace pvecri
