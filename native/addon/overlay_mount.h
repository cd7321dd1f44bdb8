// Detached overlay mounts.
#pragma once

#include <string>
#include <vector>

#include "addon/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

struct OverlayRequest {
  std::vector<std::string> lower;  // top layer first
  // Without one the mount is read-only; of at least two lower folders then, as overlayfs wants it.
  std::string upper;
  // Without an upper folder any empty one, which stays as it is.
  std::string work;
  // Of a user namespace: the layers' files have the owners it gives them. -1 for none.
  int user_namespace = -1;
};

// A mount that is attached nowhere; it goes with its last descriptor.
Failure MountOverlay(const OverlayRequest& request, UniqueFd* mount);

// The two ways MountOverlay has, for kernels with and without `lowerdir+` (Linux 6.8). Of layers as
// they lie.
Failure MountOverlayByContext(const OverlayRequest& request, UniqueFd* mount);
Failure MountOverlayByString(const OverlayRequest& request, UniqueFd* mount);

// And of idmapped layers, for kernels that take detached mounts as layers (Linux 6.15) and all
// others.
Failure MountIdmappedByFds(const OverlayRequest& request, UniqueFd* mount);
Failure MountIdmappedByPaths(const OverlayRequest& request, UniqueFd* mount);

}  // namespace pvecri
