// What went wrong in a native step: the step's name, the errno, and the object it happened to.
#pragma once

#include <errno.h>
#include <stdio.h>

#include "common/wire.h"

namespace pvecri {

struct Failure {
  const char* step = "";
  int error = 0;
  char text[512] = "";

  // Takes errno as it stands; returns false for `return failure->Set(...)`.
  bool Set(const char* name, const char* object) { return Set(name, object, errno); }
  bool Set(const char* name, const char* object, int error_number) {
    step = name;
    error = error_number;
    snprintf(text, sizeof(text), "%s", object);
    return false;
  }
  void Write(Writer* writer) const {
    writer->Number(Tag::kErrno, static_cast<uint64_t>(error));
    writer->Text(Tag::kStep, step);
    writer->Text(Tag::kText, text);
  }
};

}  // namespace pvecri
