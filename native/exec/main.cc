// pvecri-exec: runs one command in a running container and reports how it ended.
//
// Descriptors: 0, 1, 2 the command's own, 3 the command's description, 4 pidfd of the container's
// init, 5 a pipe whose hang-up means "kill it" (the agent timed out or died), 6 the result pipe.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/null_device.h"
#include "common/process.h"
#include "common/syscalls.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

constexpr int kSpec = 3;
constexpr int kInitPidfd = 4;
constexpr int kControl = 5;
constexpr int kResult = 6;
constexpr int kLastFd = 6;

struct Command {
  const char* cgroup_root = nullptr;
  const char* cgroup_outer = nullptr;
  const char* name = nullptr;
  bool null_stdin = true;
  Process process;
};

// The command's own cgroup: what a timeout kills is this and nothing else of the container.
struct ExecCgroup {
  UniqueFd outer;
  UniqueFd folder;
  UniqueFd kill;
};

void Report(const Failure& failure) {
  Writer writer;
  failure.Write(&writer);
  (void)!::write(kResult, writer.data(), writer.size());
}

bool ReadCommand(Command* command, Failure* failure) {
  struct stat status;
  if (::fstat(kSpec, &status) != 0) return failure->Set("spec", "size");
  size_t size = static_cast<size_t>(status.st_size);
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, kSpec, 0);
  if (map == MAP_FAILED) return failure->Set("spec", "map");
  Field field;
  Reader reader(map, size);
  while (reader.Next(&field)) {
    if (field.tag == Tag::kCgroupRoot) command->cgroup_root = field.text();
    if (field.tag == Tag::kCgroupOuter) command->cgroup_outer = field.text();
    if (field.tag == Tag::kExecName) command->name = field.text();
    if (field.tag == Tag::kKeepStdin) command->null_stdin = field.number() == 0;
    if (field.tag == Tag::kProcess && !ParseProcess(field, &command->process, failure))
      return false;
  }
  if (!reader.ok() || !command->cgroup_root || !command->cgroup_outer || !command->name ||
      !command->process.argv) {
    return failure->Set("spec", "field", EINVAL);
  }
  return true;
}

bool MakeCgroup(const Command& command, ExecCgroup* cgroup, Failure* failure) {
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s%s", command.cgroup_root, command.cgroup_outer);
  cgroup->outer.reset(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup->outer || ::mkdirat(cgroup->outer.get(), command.name, 0755) != 0) {
    return failure->Set("cgroup", command.cgroup_outer);
  }
  cgroup->folder.reset(
      ::openat(cgroup->outer.get(), command.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (cgroup->folder) {
    cgroup->kill.reset(::openat(cgroup->folder.get(), "cgroup.kill", O_WRONLY | O_CLOEXEC));
  }
  if (!cgroup->kill) return failure->Set("cgroup", command.name);
  return true;
}

// A command may leave processes behind (a daemon it started): they go on, as members of the
// container.
void MoveLeftovers(const ExecCgroup& cgroup) {
  UniqueFd from(::openat(cgroup.folder.get(), "cgroup.procs", O_RDONLY | O_CLOEXEC));
  UniqueFd to(::openat(cgroup.outer.get(), "lxc/cgroup.procs", O_WRONLY | O_CLOEXEC));
  char text[4096];
  ssize_t length = ::read(from.get(), text, sizeof(text) - 1);
  if (length <= 0) return;
  text[length] = 0;
  for (char* line = text; *line;) {
    char* end = strchr(line, '\n');
    if (!end) break;
    (void)!::write(to.get(), line, static_cast<size_t>(end - line));
    line = end + 1;
  }
}

void RemoveCgroup(const Command& command, const ExecCgroup& cgroup, bool killed) {
  // EBUSY while a killed process is not yet gone, or while leftovers fork in the middle of the
  // move.
  for (int round = 0; round < 100; ++round) {
    if (::unlinkat(cgroup.outer.get(), command.name, AT_REMOVEDIR) == 0 || errno != EBUSY) return;
    if (!killed) MoveLeftovers(cgroup);
    if (round > 0) ::usleep(2000);
  }
}

[[noreturn]] void RunChild(const Command& command, int errors) {
  Failure failure;
  // Only here: where cgroup2 is mounted with nsdelegate, as systemd does, clone3 and the move of
  // leftovers work on cgroups below the caller's own namespace alone.
  if (::setns(kInitPidfd, CLONE_NEWCGROUP) != 0) failure.Set("setns", "cgroup");
  UniqueFd null;
  if (failure.error == 0 && command.null_stdin) {
    null = OpenNullDevice();
    if (!null || ::dup2(null.get(), 0) < 0) failure.Set("stdin", "/dev/null");
  }
  if (failure.error == 0) BecomePayload(command.process, kControl, &failure);
  Writer writer;
  failure.Write(&writer);
  (void)!::write(errors, writer.data(), writer.size());
  ::_exit(127);
}

// Waits for the command's end or for the control pipe's.
int WaitForEnd(pid_t child, int pidfd, const ExecCgroup& cgroup, bool* killed) {
  pollfd watched[] = {{.fd = pidfd, .events = POLLIN, .revents = 0},
                      {.fd = kControl, .events = 0, .revents = 0}};
  while (::poll(watched, 2, -1) >= 0 || errno == EINTR) {
    if (watched[0].revents) break;
    if (watched[1].revents) {
      *killed = true;
      (void)!::write(cgroup.kill.get(), "1", 1);
      break;
    }
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

bool EnterContainer(Failure* failure) {
  constexpr int kNamespaces =
      CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (::setns(kInitPidfd, kNamespaces) != 0) return failure->Set("setns", "container");
  return true;
}

bool Execute(const Command& command, const ExecCgroup& cgroup, Failure* failure) {
  int errors[2];
  if (::pipe2(errors, O_CLOEXEC) != 0) return failure->Set("pipe", "");
  UniqueFd errors_read(errors[0]), errors_write(errors[1]);
  if (!EnterContainer(failure)) return false;
  int pidfd = -1;
  clone_args arguments = {};
  arguments.flags = CLONE_INTO_CGROUP | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(cgroup.folder.get());
  pid_t child = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (child < 0) return failure->Set("clone", "");
  if (child == 0) RunChild(command, errors_write.get());
  UniqueFd child_pidfd(pidfd);
  errors_write.reset();
  // The command alone holds these from now on, so that its readers see the end of it.
  for (int fd = 0; fd <= 2; ++fd) ::close(fd);
  bool killed = false;
  int status = WaitForEnd(child, child_pidfd.get(), cgroup, &killed);
  char report[1024];
  ssize_t length = ::read(errors_read.get(), report, sizeof(report));
  if (length > 0) {
    (void)!::write(kResult, report, static_cast<size_t>(length));
  } else {
    Writer writer;
    writer.Number(Tag::kWaitStatus, static_cast<uint64_t>(status));
    (void)!::write(kResult, writer.data(), writer.size());
  }
  RemoveCgroup(command, cgroup, killed);
  return true;
}

int Main() {
  ResetSignals();
  ::signal(SIGPIPE, SIG_IGN);  // an agent that is gone reads no result
  ::setsid();
  CloseRange(kLastFd + 1, ~0u, 0);
  CloseRange(kSpec, kLastFd, CLOSE_RANGE_CLOEXEC);
  // Inherited by the command until its execve: no process of the container may look into it.
  (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  Command command;
  ExecCgroup cgroup;
  Failure failure;
  if (!ReadCommand(&command, &failure)) {
    Report(failure);
    return EXIT_FAILURE;
  }
  bool made = MakeCgroup(command, &cgroup, &failure);
  if (made && Execute(command, cgroup, &failure)) return EXIT_SUCCESS;
  if (cgroup.folder) RemoveCgroup(command, cgroup, true);
  Report(failure);
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace pvecri

int main() { return pvecri::Main(); }
