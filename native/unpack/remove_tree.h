// Removes a folder with everything below it.
#pragma once

#include "unpack/failure.h"

namespace pvecri {

// `name` is a folder right below `parent_fd`, not a link to one. Holds two descriptors however
// deep.
Result RemoveTree(int parent_fd, const char* name);

}  // namespace pvecri
