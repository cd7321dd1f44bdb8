// The process that runs liblxc: forked by the shim while that has one thread.
#pragma once

#include "shim/spec.h"

namespace pvecri {

// What liblxc said, sent over the result pipe once the container has ended.
struct MonitorResult {
  bool started;
  // liblxc's error_num: exit code << 8, or signal << 8 | 0x7f. Not a wait status.
  int error_num;
};

struct MonitorFds {
  int rootfs;
  int init;
  int gate;
  int result;
};

// Builds a private mount and network namespace, starts the container in the foreground and waits
// for its end. Never returns.
[[noreturn]] void RunMonitor(const ShimSpec& spec, const MonitorFds& fds, int shim_pid);

}  // namespace pvecri
