// Small steps with descriptors.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace pvecri {

inline bool MakePipe(UniqueFd* read, UniqueFd* write) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return false;
  read->reset(fds[0]);
  write->reset(fds[1]);
  return true;
}

inline void MakeNonBlocking(int fd) {
  (void)::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

}  // namespace pvecri
