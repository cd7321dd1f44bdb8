// Extended attributes of entries.
#pragma once

#include <archive_entry.h>
#include <stdint.h>

#include "unpack/failure.h"

namespace pvecri {

struct XattrCounts {
  uint64_t bytes = 0;
  uint64_t skipped = 0;
};

// Sets those that are kept, and counts their bytes and the others.
Result SetXattrs(archive_entry* entry, int fd, bool is_folder, XattrCounts* counts);

// Takes away what a lower layer has given the folder: attributes are replaced, not merged.
Result RemoveUserXattrs(int folder_fd);

}  // namespace pvecri
