// How a failed system call and a bad argument look to JavaScript.
#pragma once

#include <napi.h>

#include <string>

namespace pvecri {

// A failed call, carried from plain C++ (also from other threads) to the JavaScript boundary.
struct Failure {
  int error = 0;             // errno, 0 for none
  const char* syscall = "";  // static text
  std::string path;          // object of the call, "" for none
  std::string detail;        // what the kernel or a library added in words, "" for none
  explicit operator bool() const { return error != 0; }
};

// An Error as Node's own modules make it: {code: 'ENOENT', errno: -2, syscall: 'execve', path}.
Napi::Error SystemError(Napi::Env env, const Failure& failure);

inline Napi::Error SystemError(Napi::Env env, int error, const char* syscall,
                               std::string path = {}) {
  return SystemError(env, Failure{error, syscall, std::move(path), {}});
}

}  // namespace pvecri
