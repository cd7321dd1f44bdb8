// New namespaces that outlive every process.
#pragma once

#include <string>
#include <vector>

#include "addon/failure.h"
#include "addon/sysctl.h"

namespace pvecri {

struct PinRequest {
  // Existing files to bind the new namespaces to; "" makes no such namespace.
  std::string net;
  std::string ipc;
  std::string uts;
  std::string hostname;  // of the new UTS namespace, "" for the host's
  std::vector<Sysctl> sysctls;
};

// Leaves the calling thread in the new namespaces: it must end after this. On failure nothing is
// bound.
Failure PinNamespaces(const PinRequest& request);

}  // namespace pvecri
