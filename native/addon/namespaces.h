// New namespaces that outlive every process.
#pragma once

#include <string>
#include <vector>

#include "addon/failure.h"
#include "addon/sysctl.h"
#include "addon/user_namespace.h"

namespace pvecri {

struct PinRequest {
  // Existing files to bind the new namespaces to; "" makes no such namespace.
  std::string net;
  std::string ipc;
  std::string uts;
  std::string user;  // owns the others; with its maps, and the host's id of its root
  IdMaps maps;
  uid_t root_uid = 0;
  std::string hostname;  // of the new UTS namespace, "" for the host's
  std::vector<Sysctl> sysctls;
};

// Leaves the calling thread in the new namespaces: it must end after this. On failure nothing is
// bound.
Failure PinNamespaces(const PinRequest& request);

}  // namespace pvecri
