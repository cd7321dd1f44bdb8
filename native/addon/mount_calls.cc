// mountOverlay and unmount.
#include "addon/mount_calls.h"

#include <sys/mount.h>

#include <cerrno>

#include "addon/arguments.h"
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
  UniqueFd mount;
  if (Failure failure = MountOverlay(request, &mount)) throw SystemError(env, failure);
  return Napi::Number::New(env, mount.release());
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
  exports.Set("unmount", Napi::Function::New<Unmount>(env, "unmount"));
}

}  // namespace pvecri
