// A failed call, carried from plain C++ (also from other threads) to the JavaScript boundary.
#pragma once

#include <string>

namespace pvecri {

struct Failure {
  int error = 0;             // errno, 0 for none
  const char* syscall = "";  // static text
  std::string path;          // object of the call, "" for none
  std::string detail;        // what the kernel or a library added in words, "" for none

  explicit operator bool() const { return error != 0; }
};

}  // namespace pvecri
