// Checks of what an entry says of itself.
#include "unpack/entry_attributes.h"

#include <stdint.h>

#include <algorithm>
#include <string>

namespace pvecri {

Result ReadAttributes(archive_entry* entry, EntryAttributes* attributes) {
  int64_t uid = ::archive_entry_uid(entry);
  int64_t gid = ::archive_entry_gid(entry);
  // The last id means "leave it alone" to chown(2).
  if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX) {
    return Failure{Cause::kRefused, 0,
                   "has owner " + std::to_string(uid) + ":" + std::to_string(gid) +
                       ", which no file can have"};
  }
  long nanoseconds = std::clamp(::archive_entry_mtime_nsec(entry), 0L, 999'999'999L);
  *attributes = {static_cast<mode_t>(::archive_entry_perm(entry) & 07777),
                 static_cast<uid_t>(uid),
                 static_cast<gid_t>(gid),
                 {::archive_entry_mtime(entry), nanoseconds}};
  return {};
}

}  // namespace pvecri
