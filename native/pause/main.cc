// The init of a pod whose containers share a PID namespace: it reaps, and does nothing else. As
// `pvecri-pause hold` it keeps a scope of systemd, and does not even reap. As `pvecri-pause user`
// it makes the new namespace itself, in the user namespace on descriptor 3.
//
// It is started as pid 1 of the new namespace. The containers see it in their /proc, so it owns
// nothing worth reaching: an empty root folder, no privileges, no dump, nobody's identity. It ends
// with the pod's cgroup. "ready" on descriptor 1 says that all of that holds.
#include <errno.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr uid_t kNobody = 65534;

// Null on success, else the step that failed.
const char* LeaveHost() {
  if (::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) != 0) {
    return "unshare";
  }
  if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return "private mounts";
  // Any folder serves as the place of the new root; this one is always there.
  const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount("none", "/proc", "tmpfs", flags, "size=0,nr_inodes=1,mode=0") != 0) return "tmpfs";
  if (::chdir("/proc") != 0) return "chdir";
  // With one folder for both, the old root ends up on top of the new one (pivot_root(2), NOTES).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return "pivot_root";
  if (::umount2(".", MNT_DETACH) != 0) return "umount";
  if (::chdir("/") != 0) return "chdir";
  return nullptr;
}

const char* DropPrivileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "no_new_privs";
  // The change of user clears all capability sets but the bounding one, which no_new_privs closes.
  if (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
      ::setresuid(kNobody, kNobody, kNobody) != 0) {
    return "identity";
  }
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return "dumpable";
  return nullptr;
}

void Say(const char* text) { (void)!::write(1, text, strlen(text)); }

void CloseStdio() {
  for (int fd = 0; fd < 3; ++fd) (void)::close(fd);
}

// A second process, pid 1 of a namespace that belongs to the user namespace; the first one ends.
// Null in the second one, else the step that failed.
const char* EnterUserNamespace() {
  if (::setns(3, CLONE_NEWUSER) != 0) return "user namespace";
  (void)::close(3);
  // Its root: the host's ids, which this still has, are not its own.
  if (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0) return "root";
  clone_args args = {};
  args.flags = CLONE_NEWPID;
  args.exit_signal = SIGCHLD;
  const long child = ::syscall(SYS_clone3, &args, sizeof(args));
  if (child < 0) return "clone3";
  if (child > 0) ::_exit(0);
  return nullptr;
}

// Stays until it is killed, once a byte on descriptor 0 says that its scope stands; without the
// byte whoever wanted the scope has died.
int Hold() {
  Say("ready");
  (void)::close(1);
  char go;
  if (::read(0, &go, 1) != 1) return 1;
  CloseStdio();
  for (;;) (void)::pause();
}

}  // namespace

int main(int argc, char** argv) {
  const bool hold = argc == 2 && strcmp(argv[1], "hold") == 0;
  const bool user = argc == 2 && strcmp(argv[1], "user") == 0;
  const char* failed = user ? EnterUserNamespace() : nullptr;
  if (failed == nullptr && !hold) failed = LeaveHost();
  if (failed == nullptr) failed = DropPrivileges();
  if (failed != nullptr) {
    char text[128];
    snprintf(text, sizeof(text), "%s: %s", failed, strerror(errno));
    Say(text);
    return 1;
  }
  if (hold) return Hold();
  sigset_t all;
  sigfillset(&all);
  if (::sigprocmask(SIG_BLOCK, &all, nullptr) != 0) return 1;
  Say("ready");
  CloseStdio();
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  for (;;) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    siginfo_t info;
    (void)::sigwaitinfo(&children, &info);
  }
}
