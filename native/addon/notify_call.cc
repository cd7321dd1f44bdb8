// notify: the protocol of sd_notify(3), one datagram to the socket that systemd names.
#include "addon/notify_call.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

Napi::Value Notify(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string message = ToText(info[0], "message");
  const char* name = getenv("NOTIFY_SOCKET");
  if (name == nullptr || *name == '\0') return Napi::Boolean::New(env, false);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  size_t length = strlen(name);
  if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof(address.sun_path)) {
    throw SystemError(env, EINVAL, "sendto", name);
  }
  memcpy(address.sun_path, name, length);
  if (name[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  // A stuck service manager must not stop the agent.
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw SystemError(env, errno, "socket");
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL,
             reinterpret_cast<sockaddr*>(&address), size) < 0) {
    throw SystemError(env, errno, "sendto", name);
  }
  return Napi::Boolean::New(env, true);
}

}  // namespace

void ExportNotify(Napi::Env env, Napi::Object exports) {
  exports.Set("notify", Napi::Function::New<Notify>(env, "notify"));
}

}  // namespace pvecri
