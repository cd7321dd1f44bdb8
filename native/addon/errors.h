// How a failed system call looks to JavaScript.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "addon/failure.h"

namespace pvecri {

// An Error as Node's own modules make it: {code: 'ENOENT', errno: -2, syscall: 'execve', path}.
Napi::Error SystemError(Napi::Env env, const Failure& failure);

inline Napi::Error SystemError(Napi::Env env, int error, const char* syscall,
                               std::string path = {}) {
  return SystemError(env, Failure{error, syscall, std::move(path), {}});
}

}  // namespace pvecri
