// Detached overlay mounts, by the mount API with one call per layer, or by one option string.
#include "addon/overlay_mount.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include "addon/thread.h"

namespace pvecri {
namespace {

// fsconfig(2) takes strings of at most 256 bytes with their NUL; mount(2) takes one page in all.
constexpr size_t kMaxFsconfigString = 255;
constexpr size_t kMaxMountData = 4095;

// Gives overlay a folder under a name it can take: short, and free of the characters it treats as
// separators or escapes. Keeps the descriptor such a name stands for.
class LayerNames {
 public:
  Failure Name(const std::string& path, bool always_short, std::string* name) {
    if (!always_short && path.size() <= kMaxFsconfigString &&
        path.find_first_of("\\:,") == std::string::npos) {
      *name = path;
      return {};
    }
    UniqueFd fd(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return {errno, "open", path, {}};
    *name = "/proc/self/fd/" + std::to_string(fd.get());
    fds_.push_back(std::move(fd));
    return {};
  }

 private:
  std::vector<UniqueFd> fds_;
};

// The kernel's own words on a failed configuration, which errno alone keeps back (fsopen(2)).
std::string ContextLog(int context) {
  std::string log;
  char line[512];
  ssize_t size;
  while (log.size() < 2048 && (size = read(context, line, sizeof(line))) > 0) {
    while (size > 0 && line[size - 1] == '\n') --size;
    if (!log.empty()) log += "; ";
    log.append(line, static_cast<size_t>(size));
  }
  return log;
}

Failure SetFolder(int context, LayerNames* names, const char* key, const std::string& path) {
  std::string name;
  if (Failure failure = names->Name(path, false, &name)) return failure;
  if (fsconfig(context, FSCONFIG_SET_STRING, key, name.c_str(), 0) < 0) {
    int error = errno;
    return {error, "fsconfig", path, ContextLog(context)};
  }
  return {};
}

// Overlay takes layers of the caller's mount namespace alone, so this opens them itself.
Failure MountOverWork(const OverlayRequest& request, UniqueFd* mount) {
  LayerNames names;
  std::string data = "userxattr,lowerdir=";
  for (size_t i = 0; i < request.lower.size(); ++i) {
    std::string name;
    if (Failure failure = names.Name(request.lower[i], true, &name)) return failure;
    data += (i == 0 ? "" : ":") + name;
  }
  std::string upper;
  std::string work;
  if (Failure failure = names.Name(request.upper, true, &upper)) return failure;
  if (Failure failure = names.Name(request.work, true, &work)) return failure;
  data += ",upperdir=" + upper + ",workdir=" + work;
  if (data.size() > kMaxMountData) {
    return {E2BIG, "mount", request.upper, "too many layers for this kernel"};
  }
  if (::mount("overlay", request.work.c_str(), "overlay", 0, data.c_str()) < 0) {
    return {errno, "mount", request.upper, {}};
  }
  mount->reset(open_tree(AT_FDCWD, request.work.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!*mount) return {errno, "open_tree", request.work, {}};
  return {};
}

}  // namespace

Failure MountOverlayByContext(const OverlayRequest& request, UniqueFd* mount) {
  UniqueFd context(fsopen("overlay", FSOPEN_CLOEXEC));
  if (!context) return {errno, "fsopen", "overlay", {}};
  LayerNames names;
  // Our layers carry whiteouts and opaque marks as user.overlay.*, as the unpacker writes them.
  if (fsconfig(context.get(), FSCONFIG_SET_FLAG, "userxattr", nullptr, 0) < 0) {
    int error = errno;
    return {error, "fsconfig", "userxattr", ContextLog(context.get())};
  }
  for (const std::string& layer : request.lower) {
    if (Failure failure = SetFolder(context.get(), &names, "lowerdir+", layer)) return failure;
  }
  if (Failure failure = SetFolder(context.get(), &names, "upperdir", request.upper)) return failure;
  if (Failure failure = SetFolder(context.get(), &names, "workdir", request.work)) return failure;
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    int error = errno;
    return {error, "fsconfig", request.upper, ContextLog(context.get())};
  }
  mount->reset(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!*mount) return {errno, "fsmount", request.upper, {}};
  return {};
}

Failure MountOverlayByString(const OverlayRequest& request, UniqueFd* mount) {
  // mount(2) needs a place. It is over `work`, in a mount namespace that ends with its thread: the
  // host never sees it, and an end of the agent leaves nothing.
  Failure failure;
  std::thread thread;
  int error = StartThread(&thread, [&] {
    if (unshare(CLONE_FS | CLONE_NEWNS) < 0) {
      failure = {errno, "unshare", {}, {}};
    } else if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) {
      failure = {errno, "mount", "/", {}};
    } else {
      failure = MountOverWork(request, mount);
    }
  });
  if (error != 0) return {error, "pthread_create", {}, {}};
  thread.join();
  return failure;
}

Failure MountOverlay(const OverlayRequest& request, UniqueFd* mount) {
  Failure failure = MountOverlayByContext(request, mount);
  // A kernel that does not know `lowerdir+` says EINVAL, at that call or at the creation.
  if (failure.error == EINVAL) {
    Failure second = MountOverlayByString(request, mount);
    if (!second || second.error != EINVAL) return second;
  }
  return failure;
}

}  // namespace pvecri
