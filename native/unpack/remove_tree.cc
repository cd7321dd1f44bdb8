// Removal without recursion: a hostile archive chooses how deep a tree is.
#include "unpack/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { (void)::closedir(dir); }
};

constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

bool IsDot(const char* name) { return ::strcmp(name, ".") == 0 || ::strcmp(name, "..") == 0; }

// A descriptor of its own, because closedir closes it; opened anew, because a duplicate shares the
// reading position. nullptr with errno.
std::unique_ptr<DIR, CloseDir> OpenForReading(int fd) {
  int again = ::openat(fd, ".", kFolder);
  if (again < 0) return nullptr;
  DIR* dir = ::fdopendir(again);
  if (dir == nullptr) (void)::close(again);
  return std::unique_ptr<DIR, CloseDir>(dir);
}

// Removes what can be removed at once; the name of a folder that is not empty goes to *deeper.
Result EmptyFolder(int fd, std::string* deeper) {
  deeper->clear();
  std::unique_ptr<DIR, CloseDir> dir = OpenForReading(fd);
  if (!dir) return SystemFailure("cannot read a folder");
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) return errno == 0 ? Result() : SystemFailure("readdir");
    const char* name = entry->d_name;
    if (IsDot(name)) continue;
    if (::unlinkat(fd, name, 0) == 0) continue;
    if (errno != EISDIR) return SystemFailure("cannot remove " + Quote(name));
    if (::unlinkat(fd, name, AT_REMOVEDIR) == 0) continue;
    if (errno != ENOTEMPTY) return SystemFailure("cannot remove folder " + Quote(name));
    *deeper = name;
    return {};
  }
}

// Removes what lower layers have right in the folder; the names of the layer's own folders, in
// which there may be more, go to *folders.
Result RemoveLowerHere(int fd, const OwnInodes& own, std::vector<std::string>* folders) {
  struct stat before;
  if (::fstat(fd, &before) != 0) return SystemFailure("fstat");
  std::unique_ptr<DIR, CloseDir> dir = OpenForReading(fd);
  if (!dir) return SystemFailure("cannot read a folder");
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr && errno != 0) return SystemFailure("readdir");
    if (entry == nullptr) break;
    const char* name = entry->d_name;
    if (IsDot(name)) continue;
    struct stat status;
    if (::fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return SystemFailure("fstatat");
    const bool is_folder = S_ISDIR(status.st_mode);
    if (own.Has(status.st_ino)) {
      if (is_folder) folders->push_back(name);
    } else if (is_folder) {
      if (Result failure = RemoveTree(fd, name)) return failure;
    } else if (::unlinkat(fd, name, 0) != 0) {
      return SystemFailure("cannot remove " + Quote(name));
    }
  }
  const timespec times[] = {before.st_atim, before.st_mtim};
  (void)::futimens(fd, times);
  return {};
}

}  // namespace

Result RemoveTree(int parent_fd, const char* name) {
  UniqueFd fd(::openat(parent_fd, name, kFolder));
  if (!fd) return SystemFailure("cannot open folder " + Quote(name));
  // `..` is safe: nobody else moves folders in this root.
  for (size_t depth = 0;;) {
    std::string deeper;
    if (Result failure = EmptyFolder(fd.get(), &deeper)) return failure;
    if (deeper.empty() && depth == 0) break;
    fd.reset(::openat(fd.get(), deeper.empty() ? ".." : deeper.c_str(), kFolder));
    if (!fd) return SystemFailure("cannot open folder " + Quote(deeper));
    depth += deeper.empty() ? -1 : 1;
  }
  fd.reset();
  if (::unlinkat(parent_fd, name, AT_REMOVEDIR) != 0) {
    return SystemFailure("cannot remove folder " + Quote(name));
  }
  return {};
}

Result RemoveLower(int folder_fd, const OwnInodes& own) {
  // The folders still to be looked into, for each level down to where `fd` is.
  std::vector<std::vector<std::string>> levels(1);
  if (Result failure = RemoveLowerHere(folder_fd, own, &levels.back())) return failure;
  UniqueFd fd(::openat(folder_fd, ".", kFolder));
  if (!fd) return SystemFailure("cannot open a folder");
  while (levels.size() > 1 || !levels.back().empty()) {
    const bool is_done = levels.back().empty();
    std::string name = "..";
    if (is_done) {
      levels.pop_back();
    } else {
      name = std::move(levels.back().back());
      levels.back().pop_back();
    }
    fd.reset(::openat(fd.get(), name.c_str(), kFolder));
    if (!fd) return SystemFailure("cannot open folder " + Quote(name));
    if (is_done) continue;
    levels.emplace_back();
    if (Result failure = RemoveLowerHere(fd.get(), own, &levels.back())) return failure;
  }
  return {};
}

}  // namespace pvecri
