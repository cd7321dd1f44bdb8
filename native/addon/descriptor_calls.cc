// pipe, socketPair, memfd and peerCredentials.
#include "addon/descriptor_calls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "common/unique_fd.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3
#define MFD_EXEC 0x0010U
#endif

namespace pvecri {
namespace {

Napi::Value Pipe(const Napi::CallbackInfo& info) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) throw SystemError(info.Env(), errno, "pipe2");
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("read", Napi::Number::New(info.Env(), fds[0]));
  result.Set("write", Napi::Number::New(info.Env(), fds[1]));
  return result;
}

Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
    throw SystemError(info.Env(), errno, "socketpair");
  }
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0U, Napi::Number::New(info.Env(), fds[0]));
  result.Set(1U, Napi::Number::New(info.Env(), fds[1]));
  return result;
}

Napi::Value Memfd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string name = ToText(info[0], "name");
  std::span<const uint8_t> content = ToBytes(info[1], "content");

  // vm.memfd_noexec=2 refuses any memfd that could be executed, so data says that it can't be.
  bool executable = info[2].ToBoolean();
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd fd(memfd_create(name.c_str(), kFlags | (executable ? MFD_EXEC : MFD_NOEXEC_SEAL)));
  if (!fd && errno == EINVAL) fd.reset(memfd_create(name.c_str(), kFlags));
  if (!fd) throw SystemError(env, errno, "memfd_create", name);
  while (!content.empty()) {
    ssize_t written = write(fd.get(), content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw SystemError(env, errno, "write", name);
    content = content.subspan(static_cast<size_t>(written));
  }
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
    throw SystemError(env, errno, "fcntl", name);
  }
  // A description of its own: read-only, and at its start.
  std::string link = "/proc/self/fd/" + std::to_string(fd.get());
  int readable = open(link.c_str(), O_RDONLY | O_CLOEXEC);
  if (readable < 0) throw SystemError(env, errno, "open", link);
  return Napi::Number::New(env, readable);
}

Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  ucred credentials = {};
  socklen_t size = sizeof(credentials);
  if (getsockopt(ToFd(info[0], "fd"), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
    throw SystemError(env, errno, "getsockopt");
  }
  // What a socket of another family, or one never connected, answers.
  if (credentials.uid == static_cast<uid_t>(-1)) throw SystemError(env, ENOTCONN, "getsockopt");
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", Napi::Number::New(env, credentials.pid));
  result.Set("uid", Napi::Number::New(env, credentials.uid));
  result.Set("gid", Napi::Number::New(env, credentials.gid));
  return result;
}

}  // namespace

void ExportDescriptorCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("pipe", Napi::Function::New<Pipe>(env, "pipe"));
  exports.Set("socketPair", Napi::Function::New<SocketPair>(env, "socketPair"));
  exports.Set("memfd", Napi::Function::New<Memfd>(env, "memfd"));
  exports.Set("peerCredentials", Napi::Function::New<PeerCredentials>(env, "peerCredentials"));
}

}  // namespace pvecri
