// interfaceCounters: the interfaces of many network namespaces, read off the JavaScript thread.
#include "addon/interface_calls.h"

#include <time.h>

#include <memory>
#include <string>
#include <vector>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/interfaces.h"

namespace pvecri {
namespace {

struct Reading {
  Failure failure;
  double timestamp_ms = 0;
  std::vector<InterfaceCounters> interfaces;
};

double NowMs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

Napi::Value ToObject(Napi::Env env, const Reading& reading) {
  // Gone since it was asked for, or being taken down: the others have theirs.
  if (reading.failure) return env.Null();
  Napi::Array interfaces = Napi::Array::New(env, reading.interfaces.size());
  for (uint32_t i = 0; i < reading.interfaces.size(); ++i) {
    const InterfaceCounters& counters = reading.interfaces[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", counters.name);
    object.Set("rxBytes", counters.rx_bytes);
    object.Set("rxErrors", counters.rx_errors);
    object.Set("txBytes", counters.tx_bytes);
    object.Set("txErrors", counters.tx_errors);
    interfaces.Set(i, object);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("timestampMs", reading.timestamp_ms);
  result.Set("interfaces", interfaces);
  return result;
}

Napi::Value Counters(const Napi::CallbackInfo& info) {
  std::vector<std::string> paths = ToTexts(info[0], "paths");
  for (const std::string& path : paths) {
    if (!path.starts_with('/')) {
      throw Napi::TypeError::New(info.Env(), "paths[] must be an absolute path");
    }
  }
  auto readings = std::make_shared<std::vector<Reading>>(paths.size());
  return PromiseInBackground(
      info.Env(), "pvecri interface counters",
      [readings, paths = std::move(paths)]() -> Failure {
        for (size_t i = 0; i < paths.size(); ++i) {
          Reading& reading = (*readings)[i];
          reading.timestamp_ms = NowMs();
          reading.failure = ReadInterfaces(paths[i], &reading.interfaces);
        }
        return {};
      },
      [readings](Napi::Env env) -> Napi::Value {
        Napi::Array results = Napi::Array::New(env, readings->size());
        for (uint32_t i = 0; i < readings->size(); ++i) {
          results.Set(i, ToObject(env, (*readings)[i]));
        }
        return results;
      });
}

}  // namespace

void ExportInterfaceCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("interfaceCounters", Napi::Function::New<Counters>(env, "interfaceCounters"));
}

}  // namespace pvecri
