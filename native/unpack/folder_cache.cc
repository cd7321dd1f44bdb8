// Path resolution below the root by openat2, with the last used folders kept open.
#include "unpack/folder_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace pvecri {

UniqueFd FolderCache::Open(const std::string& path, int flags) const {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  // The root folder is the process's own root as well: this is the second wall, not the first.
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(
      ::syscall(SYS_openat2, root_fd_, path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

Result FolderCache::Get(const std::string& path, Folder** folder) {
  for (auto it = folders_.begin(); it != folders_.end(); ++it) {
    if (it->path != path) continue;
    if (it != folders_.begin()) folders_.splice(folders_.begin(), folders_, it);
    *folder = &folders_.front();
    return {};
  }
  UniqueFd fd = Open(path, O_RDONLY | O_DIRECTORY);
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) {
    if (Result failure = Make(path)) return failure;
    fd = Open(path, O_RDONLY | O_DIRECTORY);
  }
  if (!fd) return SystemFailure("cannot open folder " + Quote(path));
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) return SystemFailure("fstat");
  if (folders_.size() == kMost) {
    WriteTime(folders_.back());
    folders_.pop_back();
  }
  folders_.push_front(Folder{path, std::move(fd), status.st_mtim, (status.st_mode & S_ISGID) != 0});
  *folder = &folders_.front();
  return {};
}

Result FolderCache::Make(const std::string& path) {
  size_t slash = path.rfind('/');
  Folder* parent = nullptr;
  if (Result failure = Get(slash == path.npos ? "" : path.substr(0, slash), &parent)) {
    return failure;
  }
  const char* name = path.c_str() + (slash == path.npos ? 0 : slash + 1);
  if (::mkdirat(parent->fd.get(), name, 0755) == 0) {
    ++made_;
    return {};
  }
  struct stat status;
  if (errno != EEXIST || ::fstatat(parent->fd.get(), name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return SystemFailure("cannot make folder " + Quote(path));
  }
  if (IsWhiteout(status)) return MakeOpaqueFolder(parent->fd.get(), name);
  if (S_ISDIR(status.st_mode)) return {};
  return Failure{
      Cause::kRefused, 0,
      Quote(path) + (S_ISLNK(status.st_mode)
                         ? " is used as a folder, but is a symbolic link to none in this layer"
                         : " is used as a folder, but is none")};
}

void FolderCache::WriteTime(const Folder& folder) {
  const timespec times[] = {folder.mtime, folder.mtime};
  // A time is no reason to give up a layer (a filesystem may not hold the year 40000).
  (void)::futimens(folder.fd.get(), times);
}

void FolderCache::ForgetAllBut(const Folder& kept) {
  folders_.remove_if([&kept](const Folder& folder) {
    if (&folder == &kept) return false;
    WriteTime(folder);
    return true;
  });
}

void FolderCache::ForgetAll() {
  for (const Folder& folder : folders_) WriteTime(folder);
  folders_.clear();
}

Result MakeOpaqueFolder(int parent_fd, const char* name) {
  if (::unlinkat(parent_fd, name, 0) != 0 || ::mkdirat(parent_fd, name, 0755) != 0) {
    return SystemFailure("cannot make a folder in the place of whiteout " + Quote(name));
  }
  UniqueFd fd(::openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return SystemFailure("cannot open folder " + Quote(name));
  return SetOpaque(fd.get());
}

Result SetOpaque(int folder_fd) {
  // overlayfs, mounted with userxattr, reads its marks from user.overlay.* (overlayfs.rst).
  if (::fsetxattr(folder_fd, "user.overlay.opaque", "y", 1, 0) != 0) {
    return SystemFailure(
        "cannot mark a folder opaque (the filesystem must know user.* attributes)");
  }
  return {};
}

bool IsWhiteout(const struct stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == ::makedev(0, 0);
}

}  // namespace pvecri
