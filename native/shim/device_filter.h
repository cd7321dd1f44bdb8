// Which devices a container may open: a BPF program on its outer cgroup.
#pragma once

#include "common/failure.h"
#include "shim/spec.h"

namespace pvecri {

// Lets through the null, zero, full, random, urandom, tty, console, ptmx and pty devices, those of
// the spec as far as it says, and the making of nodes. Without it every device of the host can be
// opened once mknod has named it. It goes with the cgroup.
bool AttachDeviceFilter(const ShimSpec& spec, int cgroup, Failure* failure);

}  // namespace pvecri
