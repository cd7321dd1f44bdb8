// Runs the unpacking where a hostile archive can reach nothing but the target folder.
#pragma once

#include "unpack/failure.h"

namespace pvecri {

// Forks a child that is alone in user, mount, PID, network, IPC, UTS and cgroup namespaces of its
// own, with `target_fd` as its root folder, no descriptor to anything outside of it, and only the
// capabilities that writing files of other owners needs. The child calls `body` with nothing or
// with what kept it from getting there, and ends with the value it returns. The parent gets that
// value in *code, or 128 + the signal that ended the child.
//
// The user namespace maps every id onto itself: owners, set-id bits and file capabilities come out
// as the host sees them, but none of the child's capabilities counts for anything that is the
// host's.
//
// When `watch_fd`, a pipe's write end, loses its reader, the agent is gone and the child is killed.
Result RunConfined(int target_fd, int watch_fd, int (*body)(Result, void*), void* argument,
                   int* code);

}  // namespace pvecri
