// lxcVersion, lxcState and lxcFreeze.
#include "addon/lxc_calls.h"

#include <lxc/lxccontainer.h>

#include <memory>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "addon/foreign_container.h"

namespace pvecri {
namespace {

// The name becomes part of a path and of a socket's address.
std::string ToContainerName(const Napi::Value& value) {
  std::string name = ToText(value, "name");
  if (name.empty() || name.size() > 64 || name[0] == '.' ||
      name.find_first_of("/ \n\t") != std::string::npos) {
    throw Napi::TypeError::New(value.Env(), "name is not the name of a container");
  }
  return name;
}

Napi::Value Version(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), lxc_get_version());
}

Napi::Value State(const Napi::CallbackInfo& info) {
  std::string lxcpath = ToPath(info[0], "lxcpath");
  std::string name = ToContainerName(info[1]);
  auto state = std::make_shared<ForeignState>();
  return PromiseInBackground(
      info.Env(), "pvecri lxc state", [=] { return QueryForeignState(lxcpath, name, state.get()); },
      [state](Napi::Env env) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("state", Napi::String::New(env, state->state));
        result.Set("initPid", Napi::Number::New(env, state->init_pid));
        return result;
      });
}

Napi::Value Freeze(const Napi::CallbackInfo& info) {
  std::string lxcpath = ToPath(info[0], "lxcpath");
  std::string name = ToContainerName(info[1]);
  bool freeze = ToBoolean(info[2], "freeze");
  return PromiseInBackground(
      info.Env(), "pvecri lxc freeze", [=] { return FreezeForeign(lxcpath, name, freeze); },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

void ExportLxcCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("lxcVersion", Napi::Function::New<Version>(env, "lxcVersion"));
  exports.Set("lxcState", Napi::Function::New<State>(env, "lxcState"));
  exports.Set("lxcFreeze", Napi::Function::New<Freeze>(env, "lxcFreeze"));
}

}  // namespace pvecri
