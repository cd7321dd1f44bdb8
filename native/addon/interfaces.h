// Counters of the network interfaces in a namespace.
#pragma once

#include <string>
#include <vector>

#include "addon/failure.h"

namespace pvecri {

struct InterfaceCounters {
  std::string name;
  double rx_bytes;
  double rx_errors;
  double tx_bytes;
  double tx_errors;
};

// Moves the calling thread into the namespace at `path` for good: call it on a thread of your own.
// Loopback interfaces are left out.
Failure ReadInterfaces(const std::string& path, std::vector<InterfaceCounters>* interfaces);

}  // namespace pvecri
