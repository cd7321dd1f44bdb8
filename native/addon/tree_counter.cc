// The TreeCounter class of the addon: what a folder that a container writes to meanwhile takes up.
#include "addon/tree_counter.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

// A container may make as many files as it likes; our time and memory are bounded all the same.
constexpr uint64_t kMostEntries = 2'000'000;
constexpr size_t kMostQueued = size_t{64} << 20;
// Unit of st_blocks (stat(2)).
constexpr uint64_t kBlock = 512;

class Tree {
 public:
  explicit Tree(std::string path) : path_(std::move(path)) {}

  // What vanishes or cannot be read counts nothing.
  void Run() {
    UniqueFd root(open(path_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root) return;
    Push(".");
    while (!folders_.empty()) {
      std::string folder = std::move(folders_.back());
      folders_.pop_back();
      queued_ -= folder.size();
      CountFolder(root.get(), folder);
    }
  }

  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t inodes() const { return inodes_.load(std::memory_order_relaxed); }

 private:
  void Push(std::string folder) {
    if (queued_ >= kMostQueued) return;
    queued_ += folder.size();
    folders_.push_back(std::move(folder));
  }

  void CountFolder(int root, const std::string& folder) {
    open_how how = {};
    how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    // The container may put a link to anywhere in the place of a folder at any time.
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    int fd = static_cast<int>(syscall(SYS_openat2, root, folder.c_str(), &how, sizeof(how)));
    if (fd < 0) return;
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd), closedir);
    if (!stream) {
      close(fd);
      return;
    }
    while (const dirent* entry = readdir(stream.get())) {
      if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
      if (inodes() >= kMostEntries) return;
      CountEntry(fd, folder, entry->d_name);
    }
  }

  void CountEntry(int parent, const std::string& folder, const char* name) {
    struct stat status;
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return;
    bool is_folder = S_ISDIR(status.st_mode);
    if (!is_folder && status.st_nlink > 1 && !linked_.insert(status.st_ino).second) return;
    bytes_.fetch_add(static_cast<uint64_t>(status.st_blocks) * kBlock, std::memory_order_relaxed);
    inodes_.fetch_add(1, std::memory_order_relaxed);
    if (is_folder) Push(folder + "/" + name);
  }

  const std::string path_;
  std::vector<std::string> folders_;
  size_t queued_ = 0;
  std::unordered_set<ino_t> linked_;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<uint64_t> inodes_ = 0;
};

class TreeCounter : public Napi::ObjectWrap<TreeCounter> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "TreeCounter",
        {InstanceMethod<&TreeCounter::Run>("run"), InstanceAccessor<&TreeCounter::Bytes>("bytes"),
         InstanceAccessor<&TreeCounter::Inodes>("inodes")});
  }

  explicit TreeCounter(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<TreeCounter>(info),
        tree_(std::make_shared<Tree>(ToPath(info[0], "path"))) {}

 private:
  Napi::Value Run(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    if (std::exchange(started_, true)) throw Napi::TypeError::New(env, "it counts once");
    return PromiseInBackground(
        env, "pvecri tree count",
        [tree = tree_]() -> Failure {
          tree->Run();
          return {};
        },
        [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
  }

  Napi::Value Bytes(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(tree_->bytes()));
  }

  Napi::Value Inodes(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(tree_->inodes()));
  }

  const std::shared_ptr<Tree> tree_;
  bool started_ = false;
};

}  // namespace

void ExportTreeCounter(Napi::Env env, Napi::Object exports) {
  exports.Set("TreeCounter", TreeCounter::Define(env));
}

}  // namespace pvecri
