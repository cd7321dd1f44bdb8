// Path resolution below the root by openat2, with the last used folders kept open.
#include "unpack/folder_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/syscalls.h"
#include "unpack/overlay_marks.h"

namespace pvecri {
namespace {

constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

struct Parts {
  std::string parent;
  const char* name;
};

Parts Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return {"", path.c_str()};
  return {path.substr(0, slash), path.c_str() + slash + 1};
}

Failure NoFolder(const std::string& path, const struct stat& status) {
  return {Cause::kRefused, 0,
          Quote(path) + (S_ISLNK(status.st_mode)
                             ? " is used as a folder, but is a symbolic link to none in this layer"
                             : " is used as a folder, but is none")};
}

// A set-gid parent would give the new folder its group and its bit.
Result SetDefaults(const Folder& parent, const char* name) {
  if (!parent.set_gid) return {};
  const int fd = parent.fd.get();
  if (::fchownat(fd, name, 0, 0, AT_SYMLINK_NOFOLLOW) != 0) return SystemFailure("fchownat");
  if (::fchmodat(fd, name, 0755, 0) != 0) return SystemFailure("fchmodat");
  return {};
}

}  // namespace

UniqueFd FolderCache::Open(const std::string& path, int flags, uint64_t resolve) const {
  // The root folder is the process's own root as well: this is the second wall, not the first.
  return UniqueFd(OpenAt2(root_fd_, path.empty() ? "." : path.c_str(), static_cast<uint64_t>(flags),
                          RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve));
}

Folder* FolderCache::FindCached(std::string_view path) {
  for (auto it = folders_.begin(); it != folders_.end(); ++it) {
    if (it->path != path) continue;
    if (it != folders_.begin()) folders_.splice(folders_.begin(), folders_, it);
    return &folders_.front();
  }
  return nullptr;
}

Result FolderCache::Get(const std::string& path, Folder** folder) {
  *folder = FindCached(path);
  if (*folder != nullptr) return {};
  UniqueFd fd;
  struct stat status;
  // From a parent that is open it is one step.
  const bool is_near = !path.empty() && FindCached(Split(path).parent) != nullptr;
  if (!is_near) {
    fd = Open(path, kFolder, RESOLVE_NO_SYMLINKS);
    if (!fd && path.empty()) return SystemFailure("cannot open the root folder");
    if (fd && ::fstat(fd.get(), &status) != 0) return SystemFailure("fstat");
    // The folders above one of the layer's own are its own, too.
    if (fd && !path.empty() && !own_->Has(status.st_ino)) fd.reset();
  }
  if (!fd) {
    if (Result failure = Enter(path, &fd)) return failure;
    if (::fstat(fd.get(), &status) != 0) return SystemFailure("fstat");
  }
  own_->Add(status.st_ino);
  if (folders_.size() == kMost) {
    WriteTime(folders_.back());
    folders_.pop_back();
  }
  folders_.push_front(
      Folder{path, std::move(fd), status.st_ino, status.st_mtim, (status.st_mode & S_ISGID) != 0});
  *folder = &folders_.front();
  return {};
}

Result FolderCache::Enter(const std::string& path, UniqueFd* fd) {
  const Parts parts = Split(path);
  Folder* parent = nullptr;
  if (Result failure = Get(parts.parent, &parent)) return failure;
  const int parent_fd = parent->fd.get();
  fd->reset(::openat(parent_fd, parts.name, kFolder | O_NOFOLLOW));
  if (*fd) return {};
  if (errno == ENOENT) {
    if (::mkdirat(parent_fd, parts.name, 0755) != 0) {
      return SystemFailure("cannot make folder " + Quote(path));
    }
    ++made_;
    if (Result failure = SetDefaults(*parent, parts.name)) return failure;
  } else {
    struct stat status;
    if (::fstatat(parent_fd, parts.name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return SystemFailure("cannot open folder " + Quote(path));
    }
    if (own_->Has(status.st_ino) && !IsWhiteout(status)) return Follow(path, status, fd);
    if (Result failure = Replace(*parent, parts.name)) return failure;
    // A whiteout has been counted.
    if (own_->has_lower()) ++made_;
  }
  fd->reset(::openat(parent_fd, parts.name, kFolder | O_NOFOLLOW));
  return *fd ? Result() : SystemFailure("cannot open folder " + Quote(path));
}

// What this layer has under the path is no folder itself.
Result FolderCache::Follow(const std::string& path, const struct stat& status, UniqueFd* fd) {
  if (!S_ISLNK(status.st_mode)) return NoFolder(path, status);
  *fd = Open(path, kFolder);
  struct stat target;
  if (*fd && ::fstat(fd->get(), &target) == 0 && own_->Has(target.st_ino)) return {};
  if (*fd || errno == ENOENT || errno == ENOTDIR) return NoFolder(path, status);
  return SystemFailure("cannot open folder " + Quote(path));
}

Result FolderCache::Replace(const Folder& parent, const char* name) {
  const int parent_fd = parent.fd.get();
  if (::unlinkat(parent_fd, name, 0) != 0 || ::mkdirat(parent_fd, name, 0755) != 0) {
    return SystemFailure("cannot make a folder in the place of " + Quote(name));
  }
  // A cached path may have led through a link of this name.
  ForgetAllBut(parent);
  if (Result failure = SetDefaults(parent, name)) return failure;
  if (own_->has_lower()) return {};
  // What was there hid what lower layers have, which must not shine through now.
  UniqueFd fd(::openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return SystemFailure("cannot open folder " + Quote(name));
  return SetOpaque(fd.get());
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

}  // namespace pvecri
