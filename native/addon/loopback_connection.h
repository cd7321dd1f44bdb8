// A TCP connection to a network namespace's own loopback.
#pragma once

#include <cstdint>
#include <string>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

// Connects to 127.0.0.1 and, where that fails, to ::1. Both share the time limit. An empty path
// stands for the caller's own namespace; else the calling thread is moved for good: call it on a
// thread of your own. The socket is non-blocking, and keeps its namespace for as long as it is
// open.
Failure ConnectLoopback(const std::string& path, uint16_t port, int timeout_ms, UniqueFd* result);

}  // namespace pvecri
