// Which attributes of an archive reach the disk.
#include "unpack/xattrs.h"

#include <archive.h>
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include <memory>
#include <string_view>

namespace pvecri {
namespace {

// What ext4 can hold in one value (xattr(7)), and more than any image has. Where a filesystem keeps
// attributes in memory, they would be a way to fill it.
constexpr size_t kMostBytes = 64 << 10;

// user.* is the image's own, but for overlayfs's marks; a file capability is what makes ping work.
// trusted.*, ACLs and other security.* would be meant for the host that built the image.
bool IsKept(std::string_view name, bool is_folder) {
  if (name == "security.capability") return !is_folder;
  return name.starts_with("user.") && !name.starts_with("user.overlay.");
}

}  // namespace

Result SetXattrs(archive_entry* entry, int fd, bool is_folder, XattrCounts* counts) {
  ::archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  size_t total = 0;
  while (::archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    if (name == nullptr || !IsKept(name, is_folder)) {
      ++counts->skipped;
      continue;
    }
    total += ::strlen(name) + size;
    if (total > kMostBytes) {
      return Failure{Cause::kRefused, 0, "has more than 64 KiB of extended attributes"};
    }
    if (::fsetxattr(fd, name, value, size, 0) == 0) continue;
    // A filesystem without user.* attributes loses them; losing a capability would break a program.
    if (errno != ENOTSUP || std::string_view(name) == "security.capability") {
      return SystemFailure("cannot set attribute " + Quote(name));
    }
    ++counts->skipped;
  }
  counts->bytes += total;
  return {};
}

Result RemoveUserXattrs(int folder_fd) {
  ssize_t size = ::flistxattr(folder_fd, nullptr, 0);
  if (size == 0 || (size < 0 && errno == ENOTSUP)) return {};
  std::unique_ptr<char[]> names(new char[XATTR_LIST_MAX]);
  size = ::flistxattr(folder_fd, names.get(), XATTR_LIST_MAX);
  if (size < 0) return SystemFailure("flistxattr");
  for (const char* name = names.get(); name < names.get() + size; name += ::strlen(name) + 1) {
    if (!std::string_view(name).starts_with("user.")) continue;
    if (::fremovexattr(folder_fd, name) != 0) return SystemFailure("fremovexattr");
  }
  return {};
}

}  // namespace pvecri
