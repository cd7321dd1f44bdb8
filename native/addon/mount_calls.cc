// mountOverlay, mountSharedMemory, isMountPoint and unmount.
#include "addon/mount_calls.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "addon/overlay_mount.h"

namespace pvecri {
namespace {

Napi::Value MountOverlayCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object options = ToObject(info[0], "options");
  OverlayRequest request;
  request.lower = ToTexts(options.Get("lower"), "lower");
  if (request.lower.empty()) throw Napi::TypeError::New(env, "lower must name a folder");
  request.upper = ToPath(options.Get("upper"), "upper");
  request.work = ToPath(options.Get("work"), "work");
  // On a thread of its own: overlayfs makes folders in the work folder, on a disk that may be busy.
  auto mount = std::make_shared<UniqueFd>();
  return PromiseInBackground(
      env, "pvecri mount overlay",
      [request = std::move(request), mount] { return MountOverlay(request, mount.get()); },
      [mount](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, mount->release()); });
}

void MountSharedMemory(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0], "path");
  std::string size = std::to_string(ToInteger(info[1], "sizeBytes", 1, 1LL << 40));
  std::string options = "mode=1777,size=" + size;
  if (mount("shm", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options.c_str()) < 0) {
    throw SystemError(info.Env(), errno, "mount", path);
  }
}

Napi::Value IsMountPoint(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0], "path");
  struct statx status;
  int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  if (statx(AT_FDCWD, path.c_str(), flags, STATX_BASIC_STATS, &status) < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Napi::Boolean::New(info.Env(), false);
    throw SystemError(info.Env(), errno, "statx", path);
  }
  bool is_root = (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  return Napi::Boolean::New(info.Env(), is_root);
}

Napi::Value Unmount(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0], "path");
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    return Napi::Boolean::New(info.Env(), true);
  }
  if (errno != EINVAL && errno != ENOENT) throw SystemError(info.Env(), errno, "umount2", path);
  return Napi::Boolean::New(info.Env(), false);
}

}  // namespace

void ExportMountCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("mountOverlay", Napi::Function::New<MountOverlayCall>(env, "mountOverlay"));
  exports.Set("mountSharedMemory",
              Napi::Function::New<MountSharedMemory>(env, "mountSharedMemory"));
  exports.Set("isMountPoint", Napi::Function::New<IsMountPoint>(env, "isMountPoint"));
  exports.Set("unmount", Napi::Function::New<Unmount>(env, "unmount"));
}

}  // namespace pvecri
