// connectLoopback: a connection made inside a network namespace, on a thread of its own.
#include "addon/connect_call.h"

#include <memory>
#include <string>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/loopback_connection.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

constexpr int64_t kMaxTimeoutMs = 600'000;

Napi::Value Connect(const Napi::CallbackInfo& info) {
  std::string path = info[0].IsNull() ? std::string() : ToPath(info[0], "namespace");
  auto port = static_cast<uint16_t>(ToInteger(info[1], "port", 1, UINT16_MAX));
  int timeout_ms = static_cast<int>(ToInteger(info[2], "timeoutMs", 0, kMaxTimeoutMs));
  // Closed with the task when the environment ends first.
  auto connection = std::make_shared<UniqueFd>();
  return PromiseInBackground(
      info.Env(), "pvecri connect",
      [connection, path = std::move(path), port, timeout_ms] {
        return ConnectLoopback(path, port, timeout_ms, connection.get());
      },
      [connection](Napi::Env env) -> Napi::Value {
        return Napi::Number::New(env, connection->release());
      });
}

}  // namespace

void ExportConnectCall(Napi::Env env, Napi::Object exports) {
  exports.Set("connectLoopback", Napi::Function::New<Connect>(env, "connectLoopback"));
}

}  // namespace pvecri
