// quotaState, projectOf, setProject, setProjectLimit, projectUsages and listProjects.
#include "addon/quota_calls.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "addon/project_quota.h"

namespace pvecri {
namespace {

// All of these wait for a disk that may be busy: none runs on the JavaScript thread.

uint32_t ToProject(const Napi::Value& value, const char* name) {
  return static_cast<uint32_t>(ToInteger(value, name, 0, UINT32_MAX));
}

Napi::Value ToRows(Napi::Env env, const std::vector<ProjectUsage>& usages) {
  Napi::Array rows = Napi::Array::New(env, usages.size());
  for (size_t i = 0; i < usages.size(); ++i) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("id", Napi::Number::New(env, usages[i].id));
    row.Set("usedBytes", Napi::Number::New(env, static_cast<double>(usages[i].bytes)));
    row.Set("inodesUsed", Napi::Number::New(env, static_cast<double>(usages[i].inodes)));
    row.Set("limitBytes", Napi::Number::New(env, static_cast<double>(usages[i].limit)));
    rows.Set(static_cast<uint32_t>(i), row);
  }
  return rows;
}

Napi::Value QuotaStateCall(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  auto state = std::make_shared<QuotaState>();
  return PromiseInBackground(
      info.Env(), "pvecri quota state",
      [folder = std::move(folder), state] { return GetQuotaState(folder, state.get()); },
      [state](Napi::Env env) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("accounted", Napi::Boolean::New(env, state->accounted));
        result.Set("enforced", Napi::Boolean::New(env, state->enforced));
        return result;
      });
}

Napi::Value ProjectOf(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  auto id = std::make_shared<uint32_t>(0);
  return PromiseInBackground(
      info.Env(), "pvecri project of folder",
      [folder = std::move(folder), id] { return GetProject(folder, id.get()); },
      [id](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, *id); });
}

Napi::Value Undefined(Napi::Env env) { return env.Undefined(); }

Napi::Value SetProjectCall(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  uint32_t id = ToProject(info[1], "id");
  return PromiseInBackground(
      info.Env(), "pvecri set project",
      [folder = std::move(folder), id] { return SetProject(folder, id); }, Undefined);
}

Napi::Value SetProjectLimitCall(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  uint32_t id = ToProject(info[1], "id");
  auto bytes = static_cast<uint64_t>(ToInteger(info[2], "bytes", 0, int64_t{1} << 53));
  return PromiseInBackground(
      info.Env(), "pvecri set project limit",
      [folder = std::move(folder), id, bytes] { return SetProjectLimit(folder, id, bytes); },
      Undefined);
}

Napi::Value ProjectUsages(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  if (!info[1].IsArray()) throw Napi::TypeError::New(info.Env(), "ids must be an array");
  Napi::Array array = info[1].As<Napi::Array>();
  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < array.Length(); ++i) ids.push_back(ToProject(array.Get(i), "ids[]"));
  auto usages = std::make_shared<std::vector<ProjectUsage>>();
  return PromiseInBackground(
      info.Env(), "pvecri project usages",
      [folder = std::move(folder), ids = std::move(ids), usages] {
        return GetProjectUsage(folder, ids, usages.get());
      },
      [usages](Napi::Env env) { return ToRows(env, *usages); });
}

Napi::Value ListProjectsCall(const Napi::CallbackInfo& info) {
  std::string folder = ToPath(info[0], "folder");
  uint32_t first = ToProject(info[1], "first");
  uint32_t last = ToProject(info[2], "last");
  auto usages = std::make_shared<std::vector<ProjectUsage>>();
  return PromiseInBackground(
      info.Env(), "pvecri list projects",
      [folder = std::move(folder), first, last, usages] {
        return ListProjects(folder, first, last, usages.get());
      },
      [usages](Napi::Env env) { return ToRows(env, *usages); });
}

}  // namespace

void ExportQuotaCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("quotaState", Napi::Function::New<QuotaStateCall>(env, "quotaState"));
  exports.Set("projectOf", Napi::Function::New<ProjectOf>(env, "projectOf"));
  exports.Set("setProject", Napi::Function::New<SetProjectCall>(env, "setProject"));
  exports.Set("setProjectLimit", Napi::Function::New<SetProjectLimitCall>(env, "setProjectLimit"));
  exports.Set("projectUsages", Napi::Function::New<ProjectUsages>(env, "projectUsages"));
  exports.Set("listProjects", Napi::Function::New<ListProjectsCall>(env, "listProjects"));
}

}  // namespace pvecri
