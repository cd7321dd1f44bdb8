// Starting a program without forking Node.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

struct SpawnRequest {
  std::string file;
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::vector<int> fds;  // fds[i] becomes descriptor i; -1 stands for /dev/null
  std::string cwd;       // "" keeps the caller's
  int cgroup_fd = -1;
  bool new_pid_namespace = false;  // the program is its pid 1
};

struct SpawnedProcess {
  pid_t pid = -1;
  UniqueFd pidfd;
};

// Returns once the program runs (execve succeeded) or is known not to.
Failure SpawnProcess(const SpawnRequest& request, SpawnedProcess* process);

}  // namespace pvecri
