// compileSeccomp.
#include "addon/seccomp_call.h"

#include <seccomp.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "addon/seccomp_filter.h"

namespace pvecri {
namespace {

constexpr int kMaxErrno = 4094;  // libseccomp takes one less than the kernel

struct Operator {
  const char* name;
  int op;
};
constexpr Operator kOperators[] = {
    {"eq", SCMP_CMP_EQ},
    {"ne", SCMP_CMP_NE},
    {"lt", SCMP_CMP_LT},
    {"le", SCMP_CMP_LE},
    {"gt", SCMP_CMP_GT},
    {"ge", SCMP_CMP_GE},
    {"masked-eq", SCMP_CMP_MASKED_EQ},
};

uint64_t ToUint64(const Napi::Value& value, const char* name) {
  bool lossless = false;
  uint64_t number = 0;
  if (value.IsBigInt()) number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a bigint of 64 bits");
  }
  return number;
}

SeccompArgument ToArgument(const Napi::Object& object) {
  SeccompArgument argument;
  argument.index = static_cast<unsigned>(ToInteger(object.Get("index"), "index", 0, 5));
  std::string op = ToText(object.Get("op"), "op");
  const Operator* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                       [&](const Operator& known) { return op == known.name; });
  if (found == std::end(kOperators)) {
    throw Napi::TypeError::New(object.Env(), "op " + op + " is unknown");
  }
  argument.op = found->op;
  uint64_t value = ToUint64(object.Get("value"), "value");
  if (argument.op == SCMP_CMP_MASKED_EQ) {
    argument.a = ToUint64(object.Get("mask"), "mask");
    argument.b = value;
  } else {
    argument.a = value;
  }
  return argument;
}

uint32_t ToAction(const Napi::Object& object) {
  std::string name = ToText(object.Get("action"), "action");
  auto value = static_cast<uint32_t>(
      Has(object, "errno") ? ToInteger(object.Get("errno"), "errno", 0, kMaxErrno) : EPERM);
  if (name == "allow") return SCMP_ACT_ALLOW;
  if (name == "errno") return SCMP_ACT_ERRNO(value);
  if (name == "kill-process") return SCMP_ACT_KILL_PROCESS;
  if (name == "kill-thread") return SCMP_ACT_KILL_THREAD;
  if (name == "log") return SCMP_ACT_LOG;
  if (name == "trace") return SCMP_ACT_TRACE(value);
  if (name == "trap") return SCMP_ACT_TRAP;
  throw Napi::TypeError::New(object.Env(), "action " + name + " is unknown");
}

SeccompRule ToRule(const Napi::Object& object) {
  SeccompRule rule;
  rule.names = ToTexts(object.Get("names"), "names");
  rule.action = ToAction(object);
  if (Has(object, "args")) {
    Napi::Value args = object.Get("args");
    if (!args.IsArray()) throw Napi::TypeError::New(object.Env(), "args must be an array");
    Napi::Array array = args.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) {
      rule.arguments.push_back(ToArgument(ToObject(array.Get(i), "args[]")));
    }
    if (rule.arguments.size() > 6) throw Napi::TypeError::New(object.Env(), "args has more than 6");
  }
  return rule;
}

Napi::Value Compile(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Object profile = ToObject(info[0], "profile");
  SeccompRules rules;
  rules.default_action = ToAction(ToObject(profile.Get("fallback"), "fallback"));
  for (const std::string& name : ToTexts(profile.Get("architectures"), "architectures")) {
    uint32_t token = seccomp_arch_resolve_name(name.c_str());
    if (token == 0) throw Napi::TypeError::New(env, "architecture " + name + " is unknown");
    rules.architectures.push_back(token);
  }
  Napi::Value list = profile.Get("rules");
  if (!list.IsArray()) throw Napi::TypeError::New(env, "rules must be an array");
  Napi::Array array = list.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    rules.rules.push_back(ToRule(ToObject(array.Get(i), "rules[]")));
  }
  std::vector<uint8_t> program;
  if (Failure failure = CompileSeccomp(rules, &program)) throw SystemError(env, failure);
  Napi::Uint8Array result = Napi::Uint8Array::New(env, program.size());
  std::copy(program.begin(), program.end(), result.Data());
  return result;
}

}  // namespace

void ExportSeccomp(Napi::Env env, Napi::Object exports) {
  exports.Set("compileSeccomp", Napi::Function::New<Compile>(env, "compileSeccomp"));
}

}  // namespace pvecri
