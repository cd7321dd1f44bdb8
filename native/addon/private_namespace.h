// Work in a mount namespace that nobody else sees.
#pragma once

#include <functional>

#include "addon/failure.h"

namespace pvecri {

// Runs it on a thread with a mount namespace of its own, which ends with it: what it mounts stays
// only as far as a descriptor holds it, and an end of the agent leaves nothing.
Failure InPrivateNamespace(const std::function<Failure()>& work);

}  // namespace pvecri
