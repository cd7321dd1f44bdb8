// overlayfs's marks.
#include "unpack/overlay_marks.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

namespace pvecri {

Result MakeWhiteout(int parent_fd, const char* name) {
  if (::mknodat(parent_fd, name, S_IFCHR, 0) != 0) return SystemFailure("mknodat");
  return {};
}

bool IsWhiteout(const struct stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(0, 0);
}

Result SetOpaque(int folder_fd) {
  if (::fsetxattr(folder_fd, "user.overlay.opaque", "y", 1, 0) != 0) {
    return SystemFailure(
        "cannot mark a folder opaque (the filesystem must know user.* attributes)");
  }
  return {};
}

}  // namespace pvecri
