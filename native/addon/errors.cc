// How a failed system call looks to JavaScript.
#include "addon/errors.h"

#include <uv.h>

namespace pvecri {

Napi::Error SystemError(Napi::Env env, const Failure& failure) {
  // libuv's names and texts, so that our errors read exactly like those of node:fs.
  char code[64];
  char text[256];
  uv_err_name_r(-failure.error, code, sizeof(code));
  uv_strerror_r(-failure.error, text, sizeof(text));
  std::string message = std::string(code) + ": " + text + ", " + failure.syscall;
  if (!failure.path.empty()) message += " '" + failure.path + "'";
  if (!failure.detail.empty()) message += " (" + failure.detail + ")";
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  error.Set("errno", Napi::Number::New(env, -failure.error));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  if (!failure.path.empty()) error.Set("path", Napi::String::New(env, failure.path));
  return error;
}

}  // namespace pvecri
