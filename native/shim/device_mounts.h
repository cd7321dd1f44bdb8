// Device nodes for a container whose user namespace lets it make none.
#pragma once

#include "common/failure.h"
#include "shim/spec.h"

namespace pvecri {

// Sends a mount of each device of the spec, in its order.
bool SendDevices(const ShimSpec& spec, int gate, Failure* failure);

}  // namespace pvecri
