// System calls that Debian 12's C library has no wrapper for.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace pvecri {

// Below a root, a rename or mount anywhere on the host makes a `..` uncertain for the moment:
// EAGAIN, and one is to ask again (openat2(2)).
inline int OpenAt2(int directory, const char* path, uint64_t flags, uint64_t resolve,
                   uint64_t mode = 0) {
  constexpr int kAttempts = 128;
  open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  int fd = -1;
  for (int i = 0; i < kAttempts; ++i) {
    fd = static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof(how)));
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return fd;
}

inline int PidfdOpen(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

inline int PidfdSendSignal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

inline int CloseRange(unsigned first, unsigned last, unsigned flags) {
  return static_cast<int>(::syscall(SYS_close_range, first, last, flags));
}

}  // namespace pvecri
