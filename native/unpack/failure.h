// Why an unpack failed, as the agent maps it to an error kind.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pvecri {

enum class Cause {
  kUsage,    // the arguments
  kSystem,   // a system call; `error` says why
  kCorrupt,  // the blob is truncated or does not decode
  kDigest,   // the blob or its content is not what its digest says
  kRefused,  // the layer asks for something no layer may have
  kLimit,    // the layer is larger than it may become
};

struct Failure {
  Cause cause;
  int error;
  std::string message;
};

// nullopt is success.
using Result = std::optional<Failure>;

// A failed system call, `what` naming it; reads errno.
Failure SystemFailure(std::string_view what);
Failure SystemFailure(std::string_view what, int error);

// Names come from a hostile archive: control bytes, quotes and backslashes become \xNN.
std::string Quote(std::string_view name);

}  // namespace pvecri
