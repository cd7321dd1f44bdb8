// What the held init builds in the container before it waits at the gate.
#pragma once

#include "common/failure.h"
#include "common/unique_fd.h"
#include "common/wire.h"

namespace pvecri {

// Attaches the mounts in the order of the spec, covers masked and read-only paths, makes the
// working directory, makes the root read-only last. `mounts` are detached mounts.
bool SetUpContainer(const void* spec, size_t size, const int* mounts, size_t mount_count,
                    Failure* failure);

// Binds the container's terminal to /dev/console.
bool MakeConsole(int terminal, Failure* failure);

}  // namespace pvecri
