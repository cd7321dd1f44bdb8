// Owner, mode and time of an entry.
#pragma once

#include <archive_entry.h>
#include <sys/types.h>
#include <time.h>

#include "unpack/failure.h"

namespace pvecri {

struct EntryAttributes {
  mode_t mode;  // with set-id bits
  uid_t uid;
  gid_t gid;
  timespec mtime;
};

Result ReadAttributes(archive_entry* entry, EntryAttributes* attributes);

}  // namespace pvecri
