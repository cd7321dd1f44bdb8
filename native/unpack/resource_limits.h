// What the process that unpacks may use up.
#pragma once

#include "unpack/failure.h"
#include "unpack/options.h"

namespace pvecri {

Result LimitResources(const Limits& limits);

}  // namespace pvecri
