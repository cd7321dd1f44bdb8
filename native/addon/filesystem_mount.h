// Detached mounts of file systems on block devices and of ZFS datasets.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

struct FilesystemRequest {
  std::string type;
  std::string source;
  // In the order given; an empty value is a flag.
  std::vector<std::pair<std::string, std::string>> options;
  // Of a user namespace: files have the owners it gives them. -1 for none.
  int user_namespace = -1;
};

// A mount that is attached nowhere; it goes with its last descriptor, and is never seen on the
// host.
Failure MountFilesystem(const FilesystemRequest& request, UniqueFd* mount);

}  // namespace pvecri
