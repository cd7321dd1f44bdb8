// pvecri-exec: runs one command in a running container and reports how it ended.
//
// Descriptors: 0, 1, 2 the command's own (for a terminal: the agent's ends of a relay), 3 the
// command's description, 4 pidfd of the container's init, 5 a pipe that brings window sizes (u16
// rows, u16 columns) and whose hang-up means "kill it" (the agent timed out or died), 6 the result
// pipe.
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
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/null_device.h"
#include "common/process.h"
#include "common/syscalls.h"
#include "common/terminal.h"
#include "common/unique_fd.h"
#include "exec/terminal_relay.h"

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
  bool has_user_namespace = false;
  uid_t root_uid = 0;  // the host's ids of its root
  gid_t root_gid = 0;
  bool null_stdin = true;
  bool report_start = false;
  uint64_t rows = 0;
  uint64_t columns = 0;
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
    if (field.tag == Tag::kRootUid) {
      command->has_user_namespace = true;
      command->root_uid = static_cast<uid_t>(field.number());
    }
    if (field.tag == Tag::kRootGid) command->root_gid = static_cast<gid_t>(field.number());
    if (field.tag == Tag::kReportStart) command->report_start = field.number() != 0;
    if (field.tag == Tag::kRows) command->rows = field.number();
    if (field.tag == Tag::kColumns) command->columns = field.number();
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

bool MakeStdio(const Command& command, int terminal) {
  if (command.process.tty) {
    return ::dup2(terminal, 0) == 0 && ::dup2(terminal, 1) == 1 && ::dup2(terminal, 2) == 2;
  }
  if (!command.null_stdin) return true;
  UniqueFd null = OpenNullDevice();
  return null && ::dup2(null.get(), 0) == 0;
}

[[noreturn]] void RunChild(const Command& command, int terminal, int errors) {
  Failure failure;
  // Only here: where cgroup2 is mounted with nsdelegate, as systemd does, clone3 and the move of
  // leftovers work on cgroups below the caller's own namespace alone.
  int namespaces = CLONE_NEWCGROUP;
  if (!MakeStdio(command, terminal)) failure.Set("stdin", "/dev/null");
  if (command.has_user_namespace) {
    namespaces |= CLONE_NEWUSER;
    GivePipes(command.root_uid, command.root_gid);
    if (failure.error == 0) (void)RaiseLimits(0, command.process, &failure);
  }
  if (failure.error == 0 && ::setns(kInitPidfd, namespaces) != 0) failure.Set("setns", "cgroup");
  // Its ids are those of the host still, which the namespace does not have: what it makes would
  // belong to nobody.
  if (failure.error == 0 && command.has_user_namespace &&
      (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)) {
    failure.Set("identity", "root");
  }
  if (failure.error == 0) BecomePayload(command.process, kControl, &failure);
  Writer writer;
  failure.Write(&writer);
  (void)!::write(errors, writer.data(), writer.size());
  ::_exit(127);
}

// The command while it runs, as the helper sees it.
class Watch {
 public:
  Watch(UniqueFd child, UniqueFd errors, const Command& command, TerminalRelay* relay)
      : child_(std::move(child)),
        errors_(std::move(errors)),
        report_start_(command.report_start),
        relay_(relay) {}
  // Until the command has ended and its terminal's output is delivered. True when the control pipe
  // hung up before that.
  bool UntilEnd();
  // How execve failed; empty when it did not.
  size_t ReadError();
  const char* error() const { return error_; }

 private:
  void OnErrors();
  void OnControl();

  UniqueFd child_;  // pidfd
  UniqueFd errors_;
  bool report_start_;
  TerminalRelay* relay_;
  size_t error_size_ = 0;
  char error_[1024];
};

bool Watch::UntilEnd() {
  for (;;) {
    pollfd polled[3 + TerminalRelay::kPolled] = {
        {.fd = child_.get(), .events = POLLIN, .revents = 0},
        {.fd = kControl, .events = static_cast<short>(relay_ ? POLLIN : 0), .revents = 0},
        {.fd = report_start_ ? errors_.get() : -1, .events = POLLIN, .revents = 0}};
    if (relay_) relay_->Arm(polled + 3);
    if (::poll(polled, relay_ ? 3 + TerminalRelay::kPolled : 3, -1) < 0) continue;
    if (polled[2].revents) OnErrors();
    if (polled[0].revents) child_.reset();
    if (!child_ && !relay_) return false;
    if (polled[1].revents & (POLLHUP | POLLERR)) return true;
    if (!relay_) continue;
    if (polled[1].revents) OnControl();
    relay_->Serve(polled + 3);
    if (!child_ && relay_->Drained()) return false;
  }
}

size_t Watch::ReadError() {
  if (errors_) {
    ssize_t length = ::read(errors_.get(), error_, sizeof(error_));
    error_size_ = length > 0 ? static_cast<size_t>(length) : 0;
    errors_.reset();
  }
  return error_size_;
}

void Watch::OnErrors() {
  report_start_ = false;
  if (ReadError() != 0) return;
  Writer writer;
  writer.Number(Tag::kState, static_cast<uint64_t>(State::kRunning));
  (void)!::write(kResult, writer.data(), writer.size());
}

void Watch::OnControl() {
  uint16_t sizes[2 * 64];
  ssize_t got = ::read(kControl, sizes, sizeof(sizes));
  if (got < 4) return;
  size_t last = static_cast<size_t>(got) / 4 - 1;
  (void)SetTerminalSize(relay_->master(), sizes[2 * last], sizes[2 * last + 1]);
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
  UniqueFd errors_read(errors[0]), errors_write(errors[1]), master, slave;
  if (!EnterContainer(failure)) return false;
  bool tty = command.process.tty;
  if (tty) {
    // A terminal belongs to whom opens it.
    if (command.has_user_namespace) {
      (void)::setfsgid(command.root_gid);
      (void)::setfsuid(command.root_uid);
    }
    bool opened = OpenTerminal(&master, &slave, failure);
    if (command.has_user_namespace) {
      (void)::setfsuid(0);
      (void)::setfsgid(0);
    }
    if (!opened) return false;
    (void)SetTerminalSize(master.get(), command.rows, command.columns);
  }
  int pidfd = -1;
  clone_args arguments = {};
  arguments.flags = CLONE_INTO_CGROUP | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(cgroup.folder.get());
  pid_t child = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (child < 0) return failure->Set("clone", "");
  if (child == 0) RunChild(command, slave.get(), errors_write.get());
  errors_write.reset();
  slave.reset();
  // The command alone holds these from now on, so that its readers see the end of it.
  for (int fd = tty ? 2 : 0; fd <= 2; ++fd) ::close(fd);
  TerminalRelay relay(tty ? 0 : -1, tty ? 1 : -1, std::move(master));
  Watch watch(UniqueFd(pidfd), std::move(errors_read), command, tty ? &relay : nullptr);
  bool killed = watch.UntilEnd();
  if (killed) (void)!::write(cgroup.kill.get(), "1", 1);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (size_t length = watch.ReadError()) {
    (void)!::write(kResult, watch.error(), length);
  } else {
    Writer writer;
    writer.Number(Tag::kWaitStatus, static_cast<uint64_t>(status));
    (void)!::write(kResult, writer.data(), writer.size());
  }
  if (tty) ::close(1);
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
