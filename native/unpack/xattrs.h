// Extended attributes of entries.
#pragma once

#include <archive_entry.h>
#include <stdint.h>

#include "unpack/failure.h"

namespace pvecri {

// Sets those that are kept, and counts the others.
Result SetXattrs(archive_entry* entry, int fd, bool is_folder, uint64_t* skipped);

// Takes away what a lower layer has given the folder: attributes are replaced, not merged.
Result RemoveUserXattrs(int folder_fd);

}  // namespace pvecri
