// A user namespace, with others that belong to it, before anybody is in them.
#include "addon/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace pvecri {
namespace {

// errno is the parent thread's: the calls here do not fail.
[[noreturn]] CHILD_SIDE void Hold(void* parent) {
  (void)syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (syscall(SYS_getppid) != static_cast<pid_t>(reinterpret_cast<intptr_t>(parent))) {
    syscall(SYS_exit_group, 1);
  }
  // All signals are blocked: only SIGKILL ends this.
  for (;;) (void)syscall(SYS_pause);
}

Failure WriteMap(pid_t pid, const char* name, const std::string& map) {
  std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return {errno, "open", path, {}};
  // In a single write (user_namespaces(7)).
  if (write(file.get(), map.data(), map.size()) < 0) return {errno, "write", path, {}};
  return {};
}

}  // namespace

NamespaceHolder::~NamespaceHolder() {
  if (!pidfd_) return;
  (void)syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  ReapChild(pidfd_.get());
}

Failure NamespaceHolder::Start(int flags, const IdMaps& maps) {
  if (!stack_.ok()) return {errno, "mmap", {}, {}};
  int pidfd = -1;
  clone_args args = {};
  args.flags = CLONE_VM | CLONE_PIDFD | CLONE_NEWUSER | static_cast<uint64_t>(flags);
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  auto* self = reinterpret_cast<void*>(static_cast<intptr_t>(getpid()));
  long result = CloneChild(&args, stack_, Hold, self);
  if (result < 0) return {static_cast<int>(-result), "clone3", "user namespace", {}};
  pid_ = static_cast<pid_t>(result);
  pidfd_.reset(pidfd);
  if (Failure failure = WriteMap(pid_, "uid_map", maps.uids)) return failure;
  return WriteMap(pid_, "gid_map", maps.gids);
}

}  // namespace pvecri
