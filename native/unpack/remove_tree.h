// Removes a folder with everything below it, or what lower layers have in one.
#pragma once

#include "unpack/failure.h"
#include "unpack/own_inodes.h"

namespace pvecri {

// `name` is a folder right below `parent_fd`, not a link to one. Holds two descriptors however
// deep.
Result RemoveTree(int parent_fd, const char* name);

// Removes everything below the folder that is not the layer's own. Folders keep their times.
Result RemoveLower(int folder_fd, const OwnInodes& own);

}  // namespace pvecri
