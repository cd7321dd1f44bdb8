// Detached overlay mounts, by the mount API with one call per layer, or by one option string.
#include "addon/overlay_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "addon/context_log.h"
#include "addon/idmapped_layers.h"
#include "addon/private_namespace.h"

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

Failure SetFolder(int context, LayerNames* names, const char* key, const std::string& path) {
  std::string name;
  if (Failure failure = names->Name(path, false, &name)) return failure;
  if (fsconfig(context, FSCONFIG_SET_STRING, key, name.c_str(), 0) < 0) {
    int error = errno;
    return {error, "fsconfig", path, ContextLog(context)};
  }
  return {};
}

// `add_layers` names the lower layers to the context it is given.
Failure MountByContext(const OverlayRequest& request, UniqueFd* mount,
                       const std::function<Failure(int, LayerNames*)>& add_layers) {
  UniqueFd context(fsopen("overlay", FSOPEN_CLOEXEC));
  if (!context) return {errno, "fsopen", "overlay", {}};
  LayerNames names;
  // Our layers carry whiteouts and opaque marks as user.overlay.*, as the unpacker writes them.
  if (fsconfig(context.get(), FSCONFIG_SET_FLAG, "userxattr", nullptr, 0) < 0) {
    int error = errno;
    return {error, "fsconfig", "userxattr", ContextLog(context.get())};
  }
  if (Failure failure = add_layers(context.get(), &names)) return failure;
  if (!request.upper.empty()) {
    Failure failure = SetFolder(context.get(), &names, "upperdir", request.upper);
    if (!failure) failure = SetFolder(context.get(), &names, "workdir", request.work);
    if (failure) return failure;
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
    int error = errno;
    return {error, "fsconfig", request.upper, ContextLog(context.get())};
  }
  mount->reset(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!*mount) return {errno, "fsmount", request.upper, {}};
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
  if (!request.upper.empty()) {
    std::string upper;
    std::string work;
    if (Failure failure = names.Name(request.upper, true, &upper)) return failure;
    if (Failure failure = names.Name(request.work, true, &work)) return failure;
    data += ",upperdir=" + upper + ",workdir=" + work;
  }
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
  return MountByContext(request, mount, [&](int context, LayerNames* names) -> Failure {
    for (const std::string& layer : request.lower) {
      if (Failure failure = SetFolder(context, names, "lowerdir+", layer)) return failure;
    }
    return {};
  });
}

Failure MountOverlayByString(const OverlayRequest& request, UniqueFd* mount) {
  // mount(2) needs a place. It is over `work`, in a mount namespace that ends with its thread: the
  // host never sees it, and an end of the agent leaves nothing.
  return InPrivateNamespace([&] { return MountOverWork(request, mount); });
}

Failure MountIdmappedByFds(const OverlayRequest& request, UniqueFd* mount) {
  // The mount is made of them, and they end with their descriptors: so those stay open until then.
  std::vector<UniqueFd> clones;
  return MountByContext(request, mount, [&](int context, LayerNames*) -> Failure {
    for (const std::string& layer : request.lower) {
      UniqueFd clone;
      if (Failure failure = CloneIdmapped(layer, request.user_namespace, &clone)) return failure;
      if (fsconfig(context, FSCONFIG_SET_FD, "lowerdir+", nullptr, clone.get()) < 0) {
        int error = errno;
        return {error, "fsconfig", layer, ContextLog(context)};
      }
      clones.push_back(std::move(clone));
    }
    return {};
  });
}

Failure MountIdmappedByPaths(const OverlayRequest& request, UniqueFd* mount) {
  // The clones have to be attached somewhere while overlayfs makes its own of them: on a tmpfs over
  // `upper`, in a mount namespace that nobody else sees.
  return InPrivateNamespace([&]() -> Failure {
    UniqueFd upper(open(request.upper.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!upper) return {errno, "open", request.upper, {}};
    OverlayRequest attached;
    attached.upper = "/proc/self/fd/" + std::to_string(upper.get());
    attached.work = request.work;
    if (::mount("layers", request.upper.c_str(), "tmpfs", 0, "mode=0700") < 0) {
      return {errno, "mount", request.upper, {}};
    }
    if (chdir(request.upper.c_str()) < 0) return {errno, "chdir", request.upper, {}};
    for (const std::string& layer : request.lower) {
      UniqueFd clone;
      if (Failure failure = CloneIdmapped(layer, request.user_namespace, &clone)) return failure;
      std::string name = std::to_string(attached.lower.size());
      if (mkdir(name.c_str(), 0700) < 0) return {errno, "mkdir", name, {}};
      if (move_mount(clone.get(), "", AT_FDCWD, name.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0) {
        return {errno, "move_mount", layer, {}};
      }
      attached.lower.push_back(std::move(name));
    }
    Failure failure = MountOverlayByContext(attached, mount);
    if (failure.error != EINVAL) return failure;
    Failure second = MountOverWork(attached, mount);
    return second.error == EINVAL ? failure : second;
  });
}

Failure MountOverlay(const OverlayRequest& request, UniqueFd* mount) {
  if (request.user_namespace >= 0) {
    Failure failure = MountIdmappedByFds(request, mount);
    // No layers by descriptor before Linux 6.13, no detached ones before 6.15: each says it its own
    // way.
    bool is_refused =
        failure.error == EINVAL || failure.error == EBADF || failure.error == EOPNOTSUPP;
    return is_refused ? MountIdmappedByPaths(request, mount) : failure;
  }
  Failure failure = MountOverlayByContext(request, mount);
  // A kernel that does not know `lowerdir+` says EINVAL, at that call or at the creation.
  if (failure.error == EINVAL) {
    Failure second = MountOverlayByString(request, mount);
    if (second.error != EINVAL) return second;
  }
  return failure;
}

}  // namespace pvecri
