// Overlays without an upper folder, and folders inside them.
#include "addon/volume_mount.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <cerrno>

#include "addon/idmapped_layers.h"
#include "addon/overlay_mount.h"
#include "addon/private_namespace.h"
#include "common/syscalls.h"

namespace pvecri {
namespace {

Failure MountWhole(const VolumeRequest& request, UniqueFd* mount) {
  if (request.whole >= 0) {
    mount->reset(fcntl(request.whole, F_DUPFD_CLOEXEC, 3));
    if (!*mount) return {errno, "fcntl", {}, {}};
    return {};
  }
  if (request.lower.size() > 1) {
    OverlayRequest overlay;
    overlay.lower = request.lower;
    overlay.work = request.place;
    overlay.user_namespace = request.user_namespace;
    return MountOverlay(overlay, mount);
  }
  const std::string& folder = request.lower.front();
  if (request.user_namespace >= 0) return CloneIdmapped(folder, request.user_namespace, mount);
  mount->reset(open_tree(AT_FDCWD, folder.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!*mount) return {errno, "open_tree", folder, {}};
  return {};
}

// Before Linux 6.15 only a mount that is attached somewhere can be cloned.
Failure CloneInside(const VolumeRequest& request, UniqueFd whole, UniqueFd* mount) {
  const char* place = request.place.c_str();
  if (move_mount(whole.get(), "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
    return {errno, "move_mount", request.place, {}};
  }
  UniqueFd folder(OpenAt2(whole.get(), request.sub_path.c_str(), O_PATH | O_DIRECTORY,
                          RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
  if (!folder) return {errno, "openat2", request.sub_path, {}};
  mount->reset(open_tree(folder.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  if (!*mount) return {errno, "open_tree", request.sub_path, {}};
  return {};
}

}  // namespace

Failure MountVolume(const VolumeRequest& request, UniqueFd* mount) {
  if (Failure failure = MountWhole(request, mount)) return failure;
  if (!request.sub_path.empty()) {
    UniqueFd whole = std::move(*mount);
    Failure failure =
        InPrivateNamespace([&] { return CloneInside(request, std::move(whole), mount); });
    if (failure) return failure;
  }
  // A clone of a shared mount would be shared, too.
  mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                           .propagation = MS_PRIVATE};
  if (mount_setattr(mount->get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0) {
    return {errno, "mount_setattr", request.lower.empty() ? "" : request.lower.front(), {}};
  }
  return {};
}

}  // namespace pvecri
