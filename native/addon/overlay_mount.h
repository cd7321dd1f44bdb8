// Detached overlay mounts.
#pragma once

#include <string>
#include <vector>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

struct OverlayRequest {
  std::vector<std::string> lower;  // top layer first
  std::string upper;
  std::string work;
};

// A mount that is attached nowhere; it goes with its last descriptor.
Failure MountOverlay(const OverlayRequest& request, UniqueFd* mount);

// The two ways MountOverlay has, for kernels with and without `lowerdir+` (Linux 6.8).
Failure MountOverlayByContext(const OverlayRequest& request, UniqueFd* mount);
Failure MountOverlayByString(const OverlayRequest& request, UniqueFd* mount);

}  // namespace pvecri
