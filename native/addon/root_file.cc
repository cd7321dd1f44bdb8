// readFileInRoot: reading from a tree whose content is hostile.
#include "addon/root_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "common/syscalls.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 30;
constexpr size_t kChunk = 64 * 1024;

// A path that only names the file: opening a FIFO or a device for reading would block or act.
UniqueFd FindInRoot(int root, const std::string& path) {
  return UniqueFd(OpenAt2(root, path.c_str(), O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS));
}

Failure ReadFile(int root, const std::string& path, size_t max_bytes, bool* found,
                 std::vector<uint8_t>* content) {
  UniqueFd named = FindInRoot(root, path);
  *found = static_cast<bool>(named);
  if (!named && (errno == ENOENT || errno == ENOTDIR)) return {};
  if (!named) return {errno, "openat2", path, {}};
  struct stat status;
  if (fstat(named.get(), &status) < 0) return {errno, "fstat", path, {}};
  if (!S_ISREG(status.st_mode)) return {EINVAL, "openat2", path, "not a regular file"};
  std::string link = "/proc/self/fd/" + std::to_string(named.get());
  UniqueFd fd(open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return {errno, "open", path, {}};
  // The size is a claim of the image and only sizes the first read.
  size_t claimed = status.st_size < 0 ? 0 : static_cast<size_t>(status.st_size);
  size_t filled = 0;
  content->resize(std::min(max_bytes, claimed + 1));
  while (filled < max_bytes) {
    if (filled == content->size()) content->resize(std::min(max_bytes, filled + kChunk));
    ssize_t size = read(fd.get(), content->data() + filled, content->size() - filled);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return {errno, "read", path, {}};
    if (size == 0) break;
    filled += static_cast<size_t>(size);
  }
  content->resize(filled);
  return {};
}

Napi::Value ReadFileInRoot(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int root = ToFd(info[0], "rootFd");
  std::string path = ToText(info[1], "path");
  if (path.empty()) throw Napi::TypeError::New(env, "path must not be empty");
  auto max_bytes = static_cast<size_t>(ToInteger(info[2], "maxBytes", 0, kMaxBytes));
  bool found = false;
  std::vector<uint8_t> content;
  if (Failure failure = ReadFile(root, path, max_bytes, &found, &content)) {
    throw SystemError(env, failure);
  }
  if (!found) return env.Null();
  Napi::Uint8Array result = Napi::Uint8Array::New(env, content.size());
  std::copy(content.begin(), content.end(), result.Data());
  return result;
}

}  // namespace

void ExportRootFile(Napi::Env env, Napi::Object exports) {
  exports.Set("readFileInRoot", Napi::Function::New<ReadFileInRoot>(env, "readFileInRoot"));
}

}  // namespace pvecri
