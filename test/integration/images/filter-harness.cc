// Tries, below the unpack helper's filter, what it forbids, and prints name and errno of each.
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "unpack/system_call_filter.h"

namespace {

template <typename... Arguments>
void Try(const char* name, long number, Arguments... arguments) {
  const long result = ::syscall(number, arguments...);
  (void)::dprintf(1, "%s %d\n", name, result < 0 ? errno : 0);
}

}  // namespace

int main(int argc, char**) {
  const int root = ::open("/", O_RDONLY | O_DIRECTORY);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || pvecri::FilterSystemCalls()) return 1;
#ifdef __x86_64__
  if (argc > 1) {
    // getpid of i386, whose number is another call's elsewhere.
    long result = 20;
    asm volatile("int $0x80" : "+a"(result));
    return 1;
  }
#endif
  bool has_run = false;
  std::thread([&has_run] { has_run = true; }).join();
  (void)::dprintf(1, "thread %d\n", has_run ? 0 : 1);
  Try("openat-below", SYS_openat, root, "etc/passwd", O_RDONLY);
  Try("openat", SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
  Try("openat-high", SYS_openat, 0xffffffff00000000l | static_cast<unsigned>(AT_FDCWD), "/", 0);
  Try("clone", SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  Try("clone3", SYS_clone3, nullptr, 0);
  Try("unshare", SYS_unshare, CLONE_NEWNS);
  Try("setns", SYS_setns, root, 0);
  Try("execve", SYS_execve, "/bin/true", nullptr, nullptr);
  Try("execveat", SYS_execveat, root, "bin/true", nullptr, nullptr, 0);
  Try("socket", SYS_socket, 1, 1, 0);
  Try("mmap-exec", SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
      0);
  Try("mprotect-exec", SYS_mprotect, nullptr, 0, PROT_EXEC);
  Try("mmap", SYS_mmap, nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Try("mount", SYS_mount, "", "/", nullptr, 0, nullptr);
  Try("open_tree", SYS_open_tree, root, "", 0);
  Try("chroot", SYS_chroot, ".");
  Try("fchdir", SYS_fchdir, root);
  Try("ptrace", SYS_ptrace, 0, 0, nullptr, nullptr);
  Try("process_vm_writev", SYS_process_vm_writev, ::getpid(), nullptr, 0, nullptr, 0, 0);
  Try("kill", SYS_kill, ::getpid(), 0);
  Try("bpf", SYS_bpf, 0, nullptr, 0);
  Try("io_uring_setup", SYS_io_uring_setup, 1, nullptr);
  Try("userfaultfd", SYS_userfaultfd, 0);
  Try("perf_event_open", SYS_perf_event_open, nullptr, 0, -1, -1, 0);
  Try("keyctl", SYS_keyctl, 0, -1, 0);
  Try("memfd_create", SYS_memfd_create, "x", 0);
  Try("prctl", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
  Try("setuid", SYS_setuid, 0);
  Try("capset", SYS_capset, nullptr, nullptr);
  Try("prlimit64", SYS_prlimit64, 0, 7, nullptr, nullptr);
  Try("x32-read", 0x40000000, 0, nullptr, 0);
  return 0;
}
