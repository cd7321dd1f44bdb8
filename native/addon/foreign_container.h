// Containers that are not ours (Proxmox's CTs), through liblxc's command socket.
#pragma once

#include <string>

#include "addon/failure.h"

namespace pvecri {

struct ForeignState {
  std::string state;  // as lxc-info prints it
  int init_pid = 0;   // 0 when it does not run
};

// These may take as long as the container's monitor likes; ETIMEDOUT after a few seconds, while the
// question stays behind on a thread of its own. EAGAIN while too many of those are left.
Failure QueryForeignState(const std::string& lxcpath, const std::string& name, ForeignState* state);
Failure FreezeForeign(const std::string& lxcpath, const std::string& name, bool freeze);

}  // namespace pvecri
