// The container's own null device.
#pragma once

#include "common/unique_fd.h"

namespace pvecri {

// Opened inside the container: the host's would let a payload with CAP_FOWNER change the host's
// inode by fchmod. -1 with errno set, ENODEV when something else lies there.
UniqueFd OpenNullDevice();

}  // namespace pvecri
