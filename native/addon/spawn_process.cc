// Starting a program by clone3: the child borrows this address space until its execve, so that the
// cost does not grow with Node's heap, and a fork of a threaded process never happens.
#include "addon/spawn_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdint>

#include "addon/clone_child.h"

namespace pvecri {
namespace {

// As the kernel counts them. glibc's wrappers leave out 32 and 33, which it uses itself.
constexpr int kLastSignal = 64;
constexpr size_t kKernelSigsetSize = 8;

// Everything the child touches. It runs in our memory while this thread is suspended: it must not
// allocate, lock or return, and tells its failure by writing here.
struct ChildContext {
  const char* file;
  char* const* argv;
  char* const* env;
  const int* fds;
  int* moved;  // scratch, as long as fds
  int fd_count;
  const char* cwd;
  int error = 0;
  const char* syscall = "";
  const char* path = nullptr;
};

struct KernelSigaction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)();
  uint64_t mask;
};

CHILD_SIDE void ResetSignals() {
  // execve resets handlers, but not what is ignored: Node ignores SIGPIPE.
  KernelSigaction act = {SIG_DFL, 0, nullptr, 0};
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    (void)syscall(SYS_rt_sigaction, signal, &act, nullptr, kKernelSigsetSize);
  }
}

CHILD_SIDE bool Fail(ChildContext* context, const char* syscall, const char* path = nullptr) {
  context->error = errno;
  context->syscall = syscall;
  context->path = path;
  return false;
}

// Sources and targets may overlap in any way: everything moves above the targets first.
CHILD_SIDE bool ArrangeDescriptors(ChildContext* context) {
  int null_fd = -1;
  for (int i = 0; i < context->fd_count; ++i) {
    int source = context->fds[i];
    if (source < 0) {
      if (null_fd < 0) {
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd < 0) return Fail(context, "open", "/dev/null");
        // The lowest free number may be one of the targets, but a target is only written below.
      }
      source = null_fd;
    }
    context->moved[i] = fcntl(source, F_DUPFD_CLOEXEC, context->fd_count);
    if (context->moved[i] < 0) return Fail(context, "fcntl");
  }
  for (int i = 0; i < context->fd_count; ++i) {
    if (dup2(context->moved[i], i) < 0) return Fail(context, "dup2");
  }
  if (syscall(SYS_close_range, context->fd_count, UINT_MAX, 0) < 0) {
    return Fail(context, "close_range");
  }
  return true;
}

CHILD_SIDE bool BecomeProgram(ChildContext* context) {
  ResetSignals();
  if (setsid() < 0) return Fail(context, "setsid");
  if (context->cwd != nullptr && chdir(context->cwd) < 0) {
    return Fail(context, "chdir", context->cwd);
  }
  if (!ArrangeDescriptors(context)) return false;
  uint64_t none = 0;
  (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, kKernelSigsetSize);
  execve(context->file, context->argv, context->env);
  return Fail(context, "execve", context->file);
}

[[noreturn]] CHILD_SIDE void SpawnedChild(void* context) {
  (void)BecomeProgram(static_cast<ChildContext*>(context));
  _exit(127);
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Failure SpawnProcess(const SpawnRequest& request, SpawnedProcess* process) {
  std::vector<char*> argv = Pointers(request.argv);
  std::vector<char*> env = Pointers(request.env);
  std::vector<int> moved(request.fds.size());
  ChildContext context = {
      .file = request.file.c_str(),
      .argv = argv.data(),
      .env = env.data(),
      .fds = request.fds.data(),
      .moved = moved.data(),
      .fd_count = static_cast<int>(request.fds.size()),
      .cwd = request.cwd.empty() ? nullptr : request.cwd.c_str(),
  };
  ChildStack stack;
  if (!stack.ok()) return {errno, "mmap", {}, {}};

  int pidfd = -1;
  clone_args args = {};
  args.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (request.new_pid_namespace) args.flags |= CLONE_NEWPID;
  if (request.cgroup_fd >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(request.cgroup_fd);
  }
  long result = CloneChild(&args, stack, SpawnedChild, &context);
  if (result < 0) return {static_cast<int>(-result), "clone3", {}, {}};
  process->pid = static_cast<pid_t>(result);
  process->pidfd.reset(pidfd);
  if (context.error != 0) {
    ReapChild(pidfd);
    process->pidfd.reset();
    return {context.error, context.syscall, context.path == nullptr ? "" : context.path, {}};
  }
  return {};
}

}  // namespace pvecri
