// Raw mode of a terminal. Node's own keeps output processing: a newline of a program that moves the
// cursor by it would also return the carriage.
#include "addon/terminal_calls.h"

#include <termios.h>

#include <cerrno>
#include <cstring>

#include "addon/arguments.h"
#include "addon/errors.h"

namespace pvecri {
namespace {

Napi::Value MakeTerminalRaw(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = ToFd(info[0], "fd");
  termios before;
  if (tcgetattr(fd, &before) != 0) throw SystemError(env, errno, "tcgetattr");
  termios raw = before;
  cfmakeraw(&raw);
  if (tcsetattr(fd, TCSADRAIN, &raw) != 0) throw SystemError(env, errno, "tcsetattr");
  return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<uint8_t*>(&before), sizeof(before));
}

Napi::Value SetTerminal(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = ToFd(info[0], "fd");
  std::span<const uint8_t> bytes = ToBytes(info[1], "settings");
  termios settings;
  if (bytes.size() != sizeof(settings)) throw SystemError(env, EINVAL, "tcsetattr");
  memcpy(&settings, bytes.data(), sizeof(settings));
  if (tcsetattr(fd, TCSADRAIN, &settings) != 0) throw SystemError(env, errno, "tcsetattr");
  return env.Undefined();
}

}  // namespace

void ExportTerminalCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("makeTerminalRaw", Napi::Function::New<MakeTerminalRaw>(env, "makeTerminalRaw"));
  exports.Set("setTerminal", Napi::Function::New<SetTerminal>(env, "setTerminal"));
}

}  // namespace pvecri
