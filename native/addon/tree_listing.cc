// treeListing: what lies below a folder that nobody changes, as figures and a fingerprint.
#include "addon/tree_listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

// Unit of st_blocks (stat(2)).
constexpr uint64_t kBlock = 512;
constexpr size_t kChunk = size_t{256} << 10;

// FNV-1a, 64 bits: it finds damage, it does not keep out malice.
class Fingerprint {
 public:
  void Add(std::string_view bytes) {
    for (char byte : bytes) {
      hash_ = (hash_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
  }
  // With its length, so that two texts in a row cannot be taken for two others.
  void AddText(std::string_view text) {
    AddNumber(text.size());
    Add(text);
  }
  void AddNumber(uint64_t number) {
    char bytes[sizeof(number)];
    memcpy(bytes, &number, sizeof(number));
    Add({bytes, sizeof(bytes)});
  }
  std::string Hex() const {
    char text[17];
    snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash_));
    return text;
  }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

class Listing {
 public:
  Listing(std::string path, bool with_content) : path_(std::move(path)), content_(with_content) {}

  Failure Run() {
    UniqueFd root(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root) return {errno, "open", path_, {}};
    struct stat status;
    if (fstat(root.get(), &status) < 0) return {errno, "fstat", path_, {}};
    Count(status);
    folders_.push_back(".");
    while (!folders_.empty()) {
      std::string folder = std::move(folders_.back());
      folders_.pop_back();
      if (Failure failure = ListFolder(root.get(), folder)) return failure;
    }
    return {};
  }

  uint64_t bytes() const { return bytes_; }
  uint64_t inodes() const { return inodes_; }
  std::string fingerprint() const { return fingerprint_.Hex(); }

 private:
  void Count(const struct stat& status) {
    bytes_ += static_cast<uint64_t>(status.st_blocks) * kBlock;
    ++inodes_;
  }

  Failure ListFolder(int root, const std::string& folder) {
    fingerprint_.AddText(folder);
    open_how how = {};
    how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    int fd = static_cast<int>(syscall(SYS_openat2, root, folder.c_str(), &how, sizeof(how)));
    // A layer may nest folders deeper than any path can say: what lies below is left out each time.
    if (fd < 0 && errno == ENAMETOOLONG) return {};
    if (fd < 0) return {errno, "openat2", folder, {}};
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd), closedir);
    if (!stream) {
      int error = errno;
      close(fd);
      return {error, "fdopendir", folder, {}};
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(stream.get())) {
      std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return {errno, "readdir", folder, {}};
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      if (Failure failure = ListEntry(fd, folder, name)) return failure;
    }
    return {};
  }

  Failure ListEntry(int parent, const std::string& folder, const std::string& name) {
    std::string path = folder + "/" + name;
    struct stat status;
    if (fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) {
      return {errno, "fstatat", path, {}};
    }
    const bool is_folder = S_ISDIR(status.st_mode);
    const bool is_first = is_folder || status.st_nlink == 1 || linked_.insert(status.st_ino).second;
    if (is_first) Count(status);
    fingerprint_.AddText(name);
    fingerprint_.AddNumber(status.st_mode);
    fingerprint_.AddNumber(status.st_uid);
    fingerprint_.AddNumber(status.st_gid);
    // Not nanoseconds, which not every file system keeps. Folders that an archive does not name,
    // and whiteouts, have the time of their unpacking; of a folder the size is its history.
    if (S_ISREG(status.st_mode) || S_ISLNK(status.st_mode)) {
      fingerprint_.AddNumber(static_cast<uint64_t>(status.st_mtim.tv_sec));
    }
    if (S_ISREG(status.st_mode)) fingerprint_.AddNumber(static_cast<uint64_t>(status.st_size));
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) fingerprint_.AddNumber(status.st_rdev);
    if (S_ISLNK(status.st_mode)) {
      if (Failure failure = AddTarget(parent, name, path)) return failure;
    }
    if (Failure failure = AddAttributes(parent, name, path)) return failure;
    if (content_ && is_first && S_ISREG(status.st_mode)) {
      if (Failure failure = AddContent(parent, name, path)) return failure;
    }
    if (is_folder) folders_.push_back(std::move(path));
    return {};
  }

  Failure AddTarget(int parent, const std::string& name, const std::string& path) {
    std::array<char, 4096> target;
    ssize_t size = readlinkat(parent, name.c_str(), target.data(), target.size());
    if (size < 0) return {errno, "readlinkat", path, {}};
    fingerprint_.AddText({target.data(), static_cast<size_t>(size)});
    return {};
  }

  // Those that a layer can have: labels of security modules come and go with the host's policy.
  static bool IsOfLayer(std::string_view name) {
    return name == "security.capability" || name.starts_with("user.") ||
           name.starts_with("trusted.overlay.");
  }

  Failure AddAttributes(int parent, const std::string& name, const std::string& path) {
    // There is no llistxattr relative to a folder before Linux 6.13.
    const std::string link = "/proc/self/fd/" + std::to_string(parent) + "/" + name;
    ssize_t size = llistxattr(link.c_str(), attributes_.data(), attributes_.size());
    if (size < 0 && errno == ENOTSUP) return {};
    if (size < 0) return {errno, "llistxattr", path, {}};
    std::vector<std::string> names;
    for (const char* at = attributes_.data(); at < attributes_.data() + size;
         at += strlen(at) + 1) {
      if (IsOfLayer(at)) names.emplace_back(at);
    }
    std::sort(names.begin(), names.end());
    for (const std::string& attribute : names) {
      size = lgetxattr(link.c_str(), attribute.c_str(), attributes_.data(), attributes_.size());
      if (size < 0) return {errno, "lgetxattr", path, {}};
      fingerprint_.AddText(attribute);
      fingerprint_.AddText({attributes_.data(), static_cast<size_t>(size)});
    }
    return {};
  }

  Failure AddContent(int parent, const std::string& name, const std::string& path) {
    UniqueFd file(openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!file) return {errno, "openat", path, {}};
    chunk_.resize(kChunk);
    for (;;) {
      ssize_t size = read(file.get(), chunk_.data(), chunk_.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return {errno, "read", path, {}};
      if (size == 0) return {};
      fingerprint_.Add({chunk_.data(), static_cast<size_t>(size)});
    }
  }

  const std::string path_;
  const bool content_;
  Fingerprint fingerprint_;
  std::vector<std::string> folders_;
  std::unordered_set<ino_t> linked_;
  // XATTR_LIST_MAX and XATTR_SIZE_MAX of <linux/limits.h>.
  std::vector<char> attributes_ = std::vector<char>(65536);
  std::vector<char> chunk_;
  uint64_t bytes_ = 0;
  uint64_t inodes_ = 0;
};

Napi::Value TreeListing(const Napi::CallbackInfo& info) {
  auto listing =
      std::make_shared<Listing>(ToPath(info[0], "path"), ToBoolean(info[1], "withContent"));
  return PromiseInBackground(
      info.Env(), "pvecri tree listing", [listing]() -> Failure { return listing->Run(); },
      [listing](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("bytes", Napi::Number::New(env, static_cast<double>(listing->bytes())));
        result.Set("inodes", Napi::Number::New(env, static_cast<double>(listing->inodes())));
        result.Set("fingerprint", Napi::String::New(env, listing->fingerprint()));
        return result;
      });
}

}  // namespace

void ExportTreeListing(Napi::Env env, Napi::Object exports) {
  exports.Set("treeListing", Napi::Function::New<TreeListing>(env, "treeListing"));
}

}  // namespace pvecri
