// mountOverlay, mountVolume, mountFilesystem, mappedOwner, mountSharedMemory, isMountPoint and
// unmount.
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
#include "addon/filesystem_mount.h"
#include "addon/idmapped_layers.h"
#include "addon/overlay_mount.h"
#include "addon/volume_mount.h"

namespace pvecri {
namespace {

// The caller may close its own while we are at work.
UniqueFd Duplicate(const Napi::Value& value, const char* name) {
  UniqueFd fd(fcntl(ToFd(value, name), F_DUPFD_CLOEXEC, 3));
  if (!fd) throw SystemError(value.Env(), errno, "fcntl", name);
  return fd;
}

Napi::Value MountOverlayCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object options = ToObject(info[0], "options");
  OverlayRequest request;
  request.lower = ToTexts(options.Get("lower"), "lower");
  if (request.lower.empty()) throw Napi::TypeError::New(env, "lower must name a folder");
  request.upper = ToPath(options.Get("upper"), "upper");
  request.work = ToPath(options.Get("work"), "work");
  UniqueFd user_namespace;
  if (Has(options, "userNamespace")) {
    user_namespace = Duplicate(options.Get("userNamespace"), "userNamespace");
    request.user_namespace = user_namespace.get();
  }
  // On a thread of its own: overlayfs makes folders in the work folder, on a disk that may be busy.
  auto mount = std::make_shared<UniqueFd>();
  auto held = std::make_shared<UniqueFd>(std::move(user_namespace));
  return PromiseInBackground(
      env, "pvecri mount overlay",
      [request = std::move(request), mount, held] { return MountOverlay(request, mount.get()); },
      [mount](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, mount->release()); });
}

Napi::Value MountVolumeCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object options = ToObject(info[0], "options");
  VolumeRequest request;
  auto held = std::make_shared<UniqueFd>();
  if (Has(options, "whole")) {
    *held = Duplicate(options.Get("whole"), "whole");
    request.whole = held->get();
  } else {
    request.lower = ToTexts(options.Get("lower"), "lower");
    if (request.lower.empty()) throw Napi::TypeError::New(env, "lower must name a folder");
  }
  auto space = std::make_shared<UniqueFd>();
  if (Has(options, "userNamespace")) {
    *space = Duplicate(options.Get("userNamespace"), "userNamespace");
    request.user_namespace = space->get();
  }
  request.place = ToPath(options.Get("place"), "place");
  request.sub_path = ToText(options.Get("subPath"), "subPath");
  auto mount = std::make_shared<UniqueFd>();
  return PromiseInBackground(
      env, "pvecri mount volume",
      [request = std::move(request), mount, held, space] {
        return MountVolume(request, mount.get());
      },
      [mount](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, mount->release()); });
}

Napi::Value MountFilesystemCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object options = ToObject(info[0], "options");
  FilesystemRequest request;
  request.type = ToText(options.Get("type"), "type");
  request.source = ToText(options.Get("source"), "source");
  for (const std::string& option : ToTexts(options.Get("options"), "options")) {
    size_t equals = option.find('=');
    std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
    request.options.emplace_back(option.substr(0, equals), std::move(value));
  }
  auto held = std::make_shared<UniqueFd>();
  if (Has(options, "userNamespace")) {
    *held = Duplicate(options.Get("userNamespace"), "userNamespace");
    request.user_namespace = held->get();
  }
  // On a thread of its own: a journal may have to be played back from a slow disk.
  auto mount = std::make_shared<UniqueFd>();
  return PromiseInBackground(
      env, "pvecri mount filesystem",
      [request = std::move(request), mount, held] { return MountFilesystem(request, mount.get()); },
      [mount](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, mount->release()); });
}

Napi::Value MappedOwner(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  auto user_namespace = std::make_shared<UniqueFd>(Duplicate(info[1], "userNamespace"));
  struct Owner {
    uid_t uid = 0;
    gid_t gid = 0;
  };
  auto owner = std::make_shared<Owner>();
  return PromiseInBackground(
      info.Env(), "pvecri mapped owner",
      [folder = std::move(folder), user_namespace, owner] {
        return GetMappedOwner(folder, user_namespace->get(), &owner->uid, &owner->gid);
      },
      [owner](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("uid", Napi::Number::New(env, owner->uid));
        result.Set("gid", Napi::Number::New(env, owner->gid));
        return result;
      });
}

void MountSharedMemory(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0], "path");
  std::string size = std::to_string(ToInteger(info[1], "sizeBytes", 1, 1LL << 40));
  uid_t uid = static_cast<uid_t>(ToInteger(info[2], "uid", 0, UINT32_MAX - 1));
  gid_t gid = static_cast<gid_t>(ToInteger(info[3], "gid", 0, UINT32_MAX - 1));
  std::string options =
      "mode=1777,size=" + size + ",uid=" + std::to_string(uid) + ",gid=" + std::to_string(gid);
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
  exports.Set("mountVolume", Napi::Function::New<MountVolumeCall>(env, "mountVolume"));
  exports.Set("mappedOwner", Napi::Function::New<MappedOwner>(env, "mappedOwner"));
  exports.Set("mountFilesystem", Napi::Function::New<MountFilesystemCall>(env, "mountFilesystem"));
  exports.Set("mountSharedMemory",
              Napi::Function::New<MountSharedMemory>(env, "mountSharedMemory"));
  exports.Set("isMountPoint", Napi::Function::New<IsMountPoint>(env, "isMountPoint"));
  exports.Set("unmount", Napi::Function::New<Unmount>(env, "unmount"));
}

}  // namespace pvecri
