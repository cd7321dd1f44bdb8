// The container's description as the agent sends it, mapped and checked.
#pragma once

#include <sys/types.h>

#include "common/failure.h"
#include "common/unique_fd.h"
#include "common/wire.h"

namespace pvecri {

// Points into the mapped message, which stays for the life of the shim.
struct ShimSpec {
  const void* data = nullptr;
  size_t size = 0;
  const char* id = nullptr;
  const char* directory = nullptr;
  const char* run_directory = nullptr;
  const char* log_path = "";
  const char* log_folder = "";
  const char* cgroup_root = nullptr;
  const char* cgroup_outer = nullptr;
  const char* cgroup_monitor = nullptr;
  const char* user_namespace = nullptr;  // null for the host's
  uid_t root_uid = 0;                    // the host's ids of its root
  gid_t root_gid = 0;
  bool privileged = false;
  bool keep_stdin = false;
  bool stdin_once = false;
  bool tty = false;
};

bool ReadSpec(int fd, ShimSpec* spec, Failure* failure);

}  // namespace pvecri
