// spawn, pidfdOpen and pidfdSignal.
#include "addon/process_calls.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <memory>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "addon/spawn_process.h"

// glibc 2.36's <sys/pidfd.h> cannot be used from C++: it lacks extern "C".
namespace pvecri {
namespace {

// Far above what any caller passes; keeps a bad argument from asking for a giant descriptor table.
constexpr uint32_t kMaxFds = 1024;

std::vector<int> ToFds(const Napi::Value& value) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "fds must be an array");
  Napi::Array array = value.As<Napi::Array>();
  uint32_t length = array.Length();
  if (length < 3 || length > kMaxFds) {
    throw Napi::TypeError::New(value.Env(), "fds must hold 3 to 1024 descriptors");
  }
  std::vector<int> fds;
  for (uint32_t i = 0; i < length; ++i) {
    fds.push_back(static_cast<int>(ToInteger(array.Get(i), "fds[]", -1, INT_MAX)));
  }
  return fds;
}

Napi::Value Spawn(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object options = ToObject(info[0], "options");
  SpawnRequest request;
  request.file = ToText(options.Get("file"), "file");
  request.argv = ToTexts(options.Get("argv"), "argv");
  if (request.argv.empty()) throw Napi::TypeError::New(env, "argv must hold at least argv[0]");
  request.env = ToTexts(options.Get("env"), "env");
  request.fds = ToFds(options.Get("fds"));
  if (Has(options, "cwd")) request.cwd = ToPath(options.Get("cwd"), "cwd");
  if (Has(options, "cgroupFd")) request.cgroup_fd = ToFd(options.Get("cgroupFd"), "cgroupFd");

  if (Has(options, "newPidNamespace")) {
    request.new_pid_namespace = options.Get("newPidNamespace").ToBoolean();
  }

  // On a thread of its own: clone3 suspends its caller until the child's execve, for which there
  // may be no processor, and waits behind moves between cgroups.
  auto process = std::make_shared<SpawnedProcess>();
  return PromiseInBackground(
      env, "pvecri spawn",
      [request = std::move(request), process] { return SpawnProcess(request, process.get()); },
      [process](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("pid", Napi::Number::New(env, process->pid));
        result.Set("pidfd", Napi::Number::New(env, process->pidfd.release()));
        return result;
      });
}

Napi::Value PidfdOpen(const Napi::CallbackInfo& info) {
  pid_t pid = static_cast<pid_t>(ToInteger(info[0], "pid", 1, INT_MAX));
  int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) throw SystemError(info.Env(), errno, "pidfd_open");
  return Napi::Number::New(info.Env(), fd);
}

void PidfdSignal(const Napi::CallbackInfo& info) {
  int pidfd = ToFd(info[0], "pidfd");
  int signal = static_cast<int>(ToInteger(info[1], "signal", 0, SIGRTMAX));
  if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) < 0) {
    throw SystemError(info.Env(), errno, "pidfd_send_signal");
  }
}

}  // namespace

void ExportProcessCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("spawn", Napi::Function::New<Spawn>(env, "spawn"));
  exports.Set("pidfdOpen", Napi::Function::New<PidfdOpen>(env, "pidfdOpen"));
  exports.Set("pidfdSignal", Napi::Function::New<PidfdSignal>(env, "pidfdSignal"));
}

}  // namespace pvecri
