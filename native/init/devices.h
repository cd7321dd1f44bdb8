// Device nodes the container was given.
#pragma once

#include <stddef.h>

#include "common/failure.h"

namespace pvecri {

// Makes a node for each device of the spec, in place of any other file there. An optional device
// gives way to what is there.
bool MakeDevices(int root, const void* spec, size_t size, Failure* failure);

// The same in a user namespace, by the mounts that the shim has sent for them: from `*next` on,
// which ends behind them.
bool AttachDevices(int root, const void* spec, size_t size, const int* mounts, size_t mount_count,
                   size_t* next, Failure* failure);

// Checks that every device that is not optional is where it should be: a mount may have covered it.
bool FindDevices(int root, const void* spec, size_t size, Failure* failure);

}  // namespace pvecri
