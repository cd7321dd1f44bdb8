// removeTree: a folder whose content strangers have made, however deep, away from the JavaScript
// heap.
#include "addon/tree_removal.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

// How often the walk begins anew because somebody has moved folders under it.
constexpr int kMostRestarts = 1000;

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

// Which folder a descriptor is.
struct Place {
  dev_t device;
  ino_t inode;
  bool operator==(const Place&) const = default;
};

// Goes down into the first folder that is not empty, and back up by `..` when it is: two
// descriptors and 16 bytes for each level, whatever the tree is. No link is followed, and nothing
// is removed of what is mounted in the tree.
class Removal {
 public:
  explicit Removal(std::string path) : path_(std::move(path)) {}

  Failure Run() {
    if (unlink(path_.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EISDIR) return {errno, "unlink", path_, {}};
    for (int i = 0; i < kMostRestarts; ++i) {
      bool moved = false;
      if (Failure failure = Empty(&moved)) return failure;
      if (moved) continue;
      if (rmdir(path_.c_str()) == 0 || errno == ENOENT) return {};
      // Something came into a folder that had been read already.
      if (errno != ENOTEMPTY) return {errno, "rmdir", path_, {}};
    }
    return {EBUSY, "rmdir", path_, {}};
  }

 private:
  // *moved: a folder is not where it was, and the walk is to begin anew.
  Failure Empty(bool* moved) {
    UniqueFd fd(open(path_.c_str(), kFolder));
    if (!fd && errno == ENOENT) return {};
    if (!fd) return {errno, "open", path_, {}};
    std::vector<Place> above;
    for (;;) {
      std::string deeper;
      if (Failure failure = EmptyFolder(fd.get(), &deeper)) return failure;
      if (deeper.empty() && above.empty()) return {};
      Place here;
      if (!deeper.empty() && !PlaceOf(fd.get(), &here)) return {errno, "fstat", path_, {}};
      const char* name = deeper.empty() ? ".." : deeper.c_str();
      UniqueFd next(OpenFolder(fd.get(), name));
      if (!next && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        *moved = true;
        return {};
      }
      if (!next) return {errno, "openat2", path_, name};
      fd = std::move(next);
      if (!deeper.empty()) {
        above.push_back(here);
        continue;
      }
      // A folder that was moved meanwhile has another parent, which need not be of this tree.
      if (!PlaceOf(fd.get(), &here)) return {errno, "fstat", path_, {}};
      if (here != above.back()) {
        *moved = true;
        return {};
      }
      above.pop_back();
    }
  }

  // Removes what can be removed at once; the name of a folder that is not empty goes to *deeper.
  Failure EmptyFolder(int fd, std::string* deeper) {
    UniqueFd again(openat(fd, ".", kFolder));
    if (!again) return {errno, "openat", path_, {}};
    std::unique_ptr<DIR, CloseDir> dir(fdopendir(again.get()));
    if (!dir) return {errno, "fdopendir", path_, {}};
    (void)again.release();
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(dir.get());
      if (entry == nullptr) return {errno, "readdir", path_, {}};
      const char* name = entry->d_name;
      if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
      if (entry->d_type != DT_DIR) {
        if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) continue;
        if (errno != EISDIR) return {errno, "unlinkat", path_, name};
      }
      if (unlinkat(fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
      // ENOTDIR: something else has its name by now. The next walk sees what it is.
      if (errno != ENOTEMPTY && errno != ENOTDIR) {
        return {errno, "unlinkat", path_, name};
      }
      *deeper = name;
      return {};
    }
  }

  static int OpenFolder(int parent, const char* name) {
    open_how how = {};
    how.flags = kFolder;
    how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    return static_cast<int>(syscall(SYS_openat2, parent, name, &how, sizeof(how)));
  }

  static bool PlaceOf(int fd, Place* place) {
    struct stat status;
    if (fstat(fd, &status) != 0) return false;
    *place = {status.st_dev, status.st_ino};
    return true;
  }

  static constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const std::string path_;
};

Napi::Value RemoveTree(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0], "path");
  if (path.find_first_not_of('/') == std::string::npos) {
    throw Napi::TypeError::New(info.Env(), "path is the root folder");
  }
  auto removal = std::make_shared<Removal>(std::move(path));
  return PromiseInBackground(
      info.Env(), "pvecri tree removal", [removal]() -> Failure { return removal->Run(); },
      [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
}

}  // namespace

void ExportTreeRemoval(Napi::Env env, Napi::Object exports) {
  exports.Set("removeTree", Napi::Function::New<RemoveTree>(env, "removeTree"));
}

}  // namespace pvecri
