// The host side of the container's mounts.
#pragma once

#include "common/failure.h"
#include "common/unique_fd.h"
#include "shim/spec.h"

namespace pvecri {

// A detached clone of every mount source, in the order of the spec, opened in the host's mount
// namespace (a shared one stays in its peer group) with its flags set, and sent over the gate.
bool SendMounts(const ShimSpec& spec, int gate, Failure* failure);

}  // namespace pvecri
