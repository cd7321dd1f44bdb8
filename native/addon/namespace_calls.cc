// pinNamespaces, bindNamespace and isNamespace.
#include "addon/namespace_calls.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include <cerrno>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "addon/namespaces.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

std::vector<Sysctl> ToSysctls(const Napi::Value& value) {
  if (!value.IsArray())
    throw Napi::TypeError::New(value.Env(), "sysctls must be an array of pairs");
  Napi::Array array = value.As<Napi::Array>();
  std::vector<Sysctl> sysctls;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    std::vector<std::string> pair = ToTexts(array.Get(i), "sysctls[]");
    if (pair.size() != 2) throw Napi::TypeError::New(value.Env(), "sysctls[] must be a pair");
    sysctls.push_back({pair[0], pair[1]});
  }
  return sysctls;
}

Napi::Value Pin(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object options = ToObject(info[0], "options");
  PinRequest request;
  if (Has(options, "net")) request.net = ToPath(options.Get("net"), "net");
  if (Has(options, "ipc")) request.ipc = ToPath(options.Get("ipc"), "ipc");
  if (Has(options, "uts")) request.uts = ToPath(options.Get("uts"), "uts");
  if (Has(options, "user")) {
    request.user = ToPath(options.Get("user"), "user");
    request.maps = {ToText(options.Get("uidMap"), "uidMap"),
                    ToText(options.Get("gidMap"), "gidMap")};
    request.root_uid =
        static_cast<uid_t>(ToInteger(options.Get("rootUid"), "rootUid", 1, UINT32_MAX - 1));
  }
  if (Has(options, "hostname")) request.hostname = ToText(options.Get("hostname"), "hostname");
  if (Has(options, "sysctls")) request.sysctls = ToSysctls(options.Get("sysctls"));
  if (request.net.empty() && request.ipc.empty() && request.uts.empty() && request.user.empty()) {
    throw Napi::TypeError::New(env, "one of net, ipc, uts and user must be given");
  }
  return PromiseInBackground(
      env, "pvecri pin namespaces",
      [request = std::move(request)] { return PinNamespaces(request); },
      [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value IsNamespace(const Napi::CallbackInfo& info) {
  std::string path = ToPath(info[0], "path");
  UniqueFd fd(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) return Napi::Boolean::New(info.Env(), false);
  if (!fd) throw SystemError(info.Env(), errno, "open", path);
  struct statfs filesystem;
  if (fstatfs(fd.get(), &filesystem) < 0) throw SystemError(info.Env(), errno, "fstatfs", path);
  return Napi::Boolean::New(info.Env(), filesystem.f_type == NSFS_MAGIC);
}

// Binds a namespace file of /proc to an existing empty file.
void Bind(const Napi::CallbackInfo& info) {
  std::string source = ToPath(info[0], "source");
  std::string target = ToPath(info[1], "target");
  if (mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) < 0) {
    throw SystemError(info.Env(), errno, "mount", target);
  }
}

}  // namespace

void ExportNamespaceCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("pinNamespaces", Napi::Function::New<Pin>(env, "pinNamespaces"));
  exports.Set("bindNamespace", Napi::Function::New<Bind>(env, "bindNamespace"));
  exports.Set("isNamespace", Napi::Function::New<IsNamespace>(env, "isNamespace"));
}

}  // namespace pvecri
