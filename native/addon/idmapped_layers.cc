// Clones of folders whose files have, seen through them, the owners a user namespace gives them.
#include "addon/idmapped_layers.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>

namespace pvecri {
namespace {

// What the kernel shows for an id that a namespace does not have: /proc/sys/kernel/overflowuid.
// Nobody changes it, and 65534 is what images may own as `nobody` only where the namespace has that
// id.
constexpr uint32_t kOverflow = 65534;

}  // namespace

Failure CloneIdmapped(const std::string& folder, int user_namespace, UniqueFd* mount) {
  UniqueFd clone(open_tree(AT_FDCWD, folder.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!clone) return {errno, "open_tree", folder, {}};
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(user_namespace);
  if (mount_setattr(clone.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0) {
    int error = errno;
    const char* detail = error == EINVAL ? "its file system has no idmapped mounts" : "";
    return {error, "mount_setattr", folder, detail};
  }
  *mount = std::move(clone);
  return {};
}

Failure GetMappedOwner(const std::string& folder, int user_namespace, uid_t* uid, gid_t* gid) {
  UniqueFd clone;
  if (Failure failure = CloneIdmapped(folder, user_namespace, &clone)) return failure;
  struct stat mapped;
  if (fstatat(clone.get(), "", &mapped, AT_EMPTY_PATH) < 0) return {errno, "fstatat", folder, {}};
  if (mapped.st_uid == kOverflow || mapped.st_gid == kOverflow) {
    return {EOVERFLOW, "mount_setattr", folder, "the user namespace does not have its owner"};
  }
  *uid = mapped.st_uid;
  *gid = mapped.st_gid;
  return {};
}

}  // namespace pvecri
