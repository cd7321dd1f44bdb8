// Paths inside the container's root: resolved and made without ever leaving it.
#pragma once

#include "common/unique_fd.h"

namespace pvecri {

// The root the container was pivoted into, as a descriptor; -1 with errno set.
UniqueFd OpenRoot();

// An O_PATH descriptor of what is there, symlinks followed inside the root; -1 with errno set.
UniqueFd ResolveInRoot(int root, const char* path);

// The same, after making what is missing: folders on the way, and at the end a folder or an empty
// file.
UniqueFd ResolveOrMake(int root, const char* path, bool folder);

}  // namespace pvecri
