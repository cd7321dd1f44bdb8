// Read-only mounts of images and artifacts as volumes.
#pragma once

#include <string>
#include <vector>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

struct VolumeRequest {
  std::vector<std::string> lower;  // top layer first; a single one is taken as it lies
  int whole = -1;                  // instead of these: a detached mount, which is changed
  std::string place;               // an empty folder, which stays as it is
  std::string sub_path;            // of a folder inside; empty for the whole
  int user_namespace = -1;         // whose ids the layers of `lower` are mapped to
};

// A mount that is attached nowhere: read-only, without devices and set-id bits. What `sub_path`
// goes through, symbolic links too, is looked up inside the volume; ENOTDIR for what is no folder.
Failure MountVolume(const VolumeRequest& request, UniqueFd* mount);

}  // namespace pvecri
