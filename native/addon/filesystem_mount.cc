// Detached mounts of file systems on block devices and of ZFS datasets.
#include "addon/filesystem_mount.h"

#include <fcntl.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstdint>

#include "addon/context_log.h"

namespace pvecri {
namespace {

Failure Configure(int context, const char* key, const std::string& value) {
  bool is_flag = value.empty();
  unsigned command = is_flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
  if (fsconfig(context, command, key, is_flag ? nullptr : value.c_str(), 0) == 0) return {};
  int error = errno;
  return {error, "fsconfig", key, ContextLog(context)};
}

}  // namespace

Failure MountFilesystem(const FilesystemRequest& request, UniqueFd* mount) {
  UniqueFd context(fsopen(request.type.c_str(), FSOPEN_CLOEXEC));
  if (!context) return {errno, "fsopen", request.type, {}};
  if (Failure failure = Configure(context.get(), "source", request.source)) return failure;
  for (const auto& [key, value] : request.options) {
    if (Failure failure = Configure(context.get(), key.c_str(), value)) return failure;
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    int error = errno;
    return {error, "fsconfig", request.source, ContextLog(context.get())};
  }
  UniqueFd made(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!made) return {errno, "fsmount", request.source, {}};
  if (request.user_namespace >= 0) {
    mount_attr attributes = {};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<uint64_t>(request.user_namespace);
    if (mount_setattr(made.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0) {
      int error = errno;
      const char* detail = error == EINVAL ? "its file system has no idmapped mounts" : "";
      return {error, "mount_setattr", request.source, detail};
    }
  }
  *mount = std::move(made);
  return {};
}

}  // namespace pvecri
