// Messages with descriptors over the gate, the socket between the shim and the held init.
#pragma once

#include <stddef.h>
#include <sys/types.h>

namespace pvecri {

// The kernel's SCM_MAX_FD is 253.
constexpr int kMaxPassedFds = 200;

struct Message {
  char body[2048];
  size_t size = 0;
  int fds[kMaxPassedFds];
  int fd_count = 0;
  // The sender, as this process' PID namespace numbers it; 0 unless SO_PASSCRED is set.
  pid_t sender = 0;
};

// False with errno set.
bool SendMessage(int socket, const void* body, size_t size, const int* fds, int fd_count);
// False with errno set, 0 at the end of the stream. Descriptors come close-on-exec.
bool ReceiveMessage(int socket, Message* message);

}  // namespace pvecri
