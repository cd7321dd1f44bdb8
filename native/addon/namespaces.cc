// New namespaces that outlive every process.
#include "addon/namespaces.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

Failure RaiseLoopback() {
  UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return {errno, "socket", {}, {}};
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  if (ioctl(fd.get(), SIOCSIFFLAGS, &request) < 0) return {errno, "ioctl", "lo", {}};
  return {};
}

// The mounts made so far, undone unless kept.
class Pins {
 public:
  Pins() = default;
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  ~Pins() {
    for (const std::string& path : paths_) (void)umount2(path.c_str(), MNT_DETACH);
  }

  // `process` as /proc has it.
  Failure Bind(const std::string& process, const char* kind, const std::string& path) {
    if (path.empty()) return {};
    std::string source = "/proc/" + process + "/ns/" + kind;
    if (mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) < 0) {
      return {errno, "mount", path, {}};
    }
    paths_.push_back(path);
    return {};
  }

  void Keep() { paths_.clear(); }

 private:
  std::vector<std::string> paths_;
};

}  // namespace

Failure PinNamespaces(const PinRequest& request) {
  const bool net = !request.net.empty();
  const bool ipc = !request.ipc.empty();
  const bool uts = !request.uts.empty();
  int flags = (net ? CLONE_NEWNET : 0) | (ipc ? CLONE_NEWIPC : 0) | (uts ? CLONE_NEWUTS : 0);
  NamespaceHolder holder;
  if (request.user.empty()) {
    if (unshare(flags) < 0) return {errno, "unshare", {}, {}};
  } else {
    if (Failure failure = holder.Start(flags, request.maps)) return failure;
    if (flags != 0 && setns(holder.pidfd(), flags) < 0) return {errno, "setns", {}, {}};
  }
  if (net) {
    if (Failure failure = RaiseLoopback()) return failure;
  }
  if (uts && !request.hostname.empty() &&
      sethostname(request.hostname.data(), request.hostname.size()) < 0) {
    return {errno, "sethostname", request.hostname, {}};
  }
  for (const Sysctl& sysctl : request.sysctls) {
    if (Failure failure = WriteSysctl(sysctl, net, ipc, request.root_uid)) return failure;
  }
  Pins pins;
  if (!request.user.empty()) {
    const std::string process = std::to_string(holder.pid());
    if (Failure failure = pins.Bind(process, "user", request.user)) return failure;
  }
  if (Failure failure = pins.Bind("thread-self", "net", request.net)) return failure;
  if (Failure failure = pins.Bind("thread-self", "ipc", request.ipc)) return failure;
  if (Failure failure = pins.Bind("thread-self", "uts", request.uts)) return failure;
  pins.Keep();
  return {};
}

}  // namespace pvecri
