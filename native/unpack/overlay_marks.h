// What overlayfs, mounted with userxattr, reads in a layer about the layers below it
// (overlayfs.rst).
#pragma once

#include <sys/stat.h>

#include "unpack/failure.h"

namespace pvecri {

// A name of lower layers that is gone.
Result MakeWhiteout(int parent_fd, const char* name);
bool IsWhiteout(const struct stat& status);

// Everything that lower layers have in the folder is gone.
Result SetOpaque(int folder_fd);

}  // namespace pvecri
