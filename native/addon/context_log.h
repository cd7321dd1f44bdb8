// What the kernel says of a file system that is being configured.
#pragma once

#include <string>

namespace pvecri {

// The kernel's own words on a failed configuration, which errno alone keeps back (fsopen(2)).
std::string ContextLog(int context);

}  // namespace pvecri
