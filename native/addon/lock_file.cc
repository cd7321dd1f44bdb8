// lockFile: a lock that the kernel releases when its holder dies, which Node has no call for.
#include "addon/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

Napi::Value LockFile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = ToPath(info[0], "path");
  // flock belongs to the open file description: close-on-exec keeps it out of every child.
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) throw SystemError(env, errno, "open", path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0) throw SystemError(env, errno, "flock", path);
  return Napi::Number::New(env, fd.release());
}

}  // namespace

void ExportLockFile(Napi::Env env, Napi::Object exports) {
  exports.Set("lockFile", Napi::Function::New<LockFile>(env, "lockFile"));
}

}  // namespace pvecri
