// Kernel parameters of a namespace.
#pragma once

#include <sys/types.h>

#include <string>

#include "addon/failure.h"

namespace pvecri {

struct Sysctl {
  std::string key;  // with dots or slashes, as sysctl(8) takes them
  std::string value;
};

// The file of a parameter that belongs to a network or IPC namespace made just now; "" for any
// other, which would change the host.
std::string NamespacedSysctlPath(const std::string& key, bool net, bool ipc);

// Writes a parameter of the calling thread's namespaces. `root_uid` is the host's id of the root
// that they belong to.
Failure WriteSysctl(const Sysctl& sysctl, bool net, bool ipc, uid_t root_uid);

}  // namespace pvecri
