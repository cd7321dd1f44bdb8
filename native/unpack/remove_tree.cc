// Removal without recursion: a hostile archive chooses how deep a tree is.
#include "unpack/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <memory>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { (void)::closedir(dir); }
};

// Removes what can be removed at once; the name of a folder that is not empty goes to *deeper.
Result EmptyFolder(int fd, std::string* deeper) {
  deeper->clear();
  // A descriptor of its own, because closedir closes it; opened anew, because a duplicate shares
  // the reading position.
  int again = ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return SystemFailure("openat");
  std::unique_ptr<DIR, CloseDir> dir(::fdopendir(again));
  if (!dir) return SystemFailure("fdopendir");
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) return errno == 0 ? Result() : SystemFailure("readdir");
    const char* name = entry->d_name;
    if (::strcmp(name, ".") == 0 || ::strcmp(name, "..") == 0) continue;
    if (::unlinkat(fd, name, 0) == 0) continue;
    if (errno != EISDIR) return SystemFailure("cannot remove " + Quote(name));
    if (::unlinkat(fd, name, AT_REMOVEDIR) == 0) continue;
    if (errno != ENOTEMPTY) return SystemFailure("cannot remove folder " + Quote(name));
    *deeper = name;
    return {};
  }
}

}  // namespace

Result RemoveTree(int parent_fd, const char* name) {
  constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
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

}  // namespace pvecri
