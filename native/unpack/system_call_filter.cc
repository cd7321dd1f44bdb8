// A seccomp filter, written by hand because it is short and ready at once: libseccomp takes some
// milliseconds, for each layer anew. The kernel keeps a bitmap of calls that are always allowed
// (seccomp_cache_prepare), so the order does not matter.
#include "unpack/system_call_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

namespace pvecri {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "which AUDIT_ARCH_ is this?"
#endif
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half of an argument comes first");

constexpr uint32_t kAllowed[] = {
    // Blob and report.
    SYS_read, SYS_pread64, SYS_write, SYS_close,
    // Files below the root. Opening one is further below.
    SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_flistxattr, SYS_fremovexattr,
    SYS_fsetxattr, SYS_fstat, SYS_ftruncate, SYS_getdents64, SYS_linkat, SYS_lseek, SYS_mkdirat,
    SYS_mknodat, SYS_newfstatat, SYS_openat2, SYS_pwrite64, SYS_symlinkat, SYS_syncfs, SYS_unlinkat,
    SYS_utimensat,
    // Memory and threads.
    SYS_brk, SYS_exit, SYS_exit_group, SYS_futex, SYS_getpid, SYS_getrandom, SYS_gettid,
    SYS_madvise, SYS_mremap, SYS_munmap, SYS_rseq, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_rt_sigreturn, SYS_sched_getaffinity, SYS_sched_yield, SYS_set_robust_list, SYS_tgkill,
    // What libc calls where the vDSO cannot help.
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_restart_syscall};

constexpr sock_filter Load(size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset));
}
constexpr sock_filter LoadArgument(int index) {
  return Load(offsetof(seccomp_data, args) + sizeof(uint64_t) * static_cast<size_t>(index));
}
constexpr sock_filter Return(uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }
// Skips `jump` instructions unless the value loaded is `value`.
constexpr sock_filter Unless(uint32_t value, uint8_t jump) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, jump);
}

constexpr uint32_t kDenied = SECCOMP_RET_ERRNO | EPERM;

std::vector<sock_filter> Program() {
  std::vector<sock_filter> program = {
      Load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      Return(SECCOMP_RET_KILL_PROCESS),
      // x32 calls have numbers of their own, of which none is listed.
      Load(offsetof(seccomp_data, nr)),
  };
  auto add = [&program](std::initializer_list<sock_filter> more) {
    program.insert(program.end(), more);
  };
  for (uint32_t number : kAllowed) add({Unless(number, 1), Return(SECCOMP_RET_ALLOW)});
  // libc makes a thread by clone, whose flags can be looked at, where there is no clone3.
  add({Unless(SYS_clone3, 1), Return(SECCOMP_RET_ERRNO | ENOSYS)});
  add({Unless(SYS_clone, 4), LoadArgument(0),
       BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1), Return(SECCOMP_RET_ALLOW),
       Return(kDenied)});
  for (uint32_t number : {SYS_mmap, SYS_mprotect}) {
    add({Unless(number, 4), LoadArgument(2), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
         Return(SECCOMP_RET_ALLOW), Return(kDenied)});
  }
  // Libraries look for their configuration where the layer has put files of its own. They shall
  // find none, which is not what EPERM says.
  add({Unless(SYS_openat, 4), LoadArgument(0), Unless(static_cast<uint32_t>(AT_FDCWD), 1),
       Return(SECCOMP_RET_ERRNO | ENOENT), Return(SECCOMP_RET_ALLOW)});
  add({Return(kDenied)});
  return program;
}

}  // namespace

Result FilterSystemCalls() {
#ifndef __SANITIZE_ADDRESS__
  std::vector<sock_filter> program = Program();
  const sock_fprog filter = {static_cast<unsigned short>(program.size()), program.data()};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
    return SystemFailure("seccomp");
  }
#endif
  return {};
}

}  // namespace pvecri
