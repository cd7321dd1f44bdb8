// What the kernel says of a file system that is being configured.
#include "addon/context_log.h"

#include <unistd.h>

namespace pvecri {

std::string ContextLog(int context) {
  std::string log;
  char line[512];
  ssize_t size;
  while (log.size() < 2048 && (size = read(context, line, sizeof(line))) > 0) {
    while (size > 0 && line[size - 1] == '\n') --size;
    if (!log.empty()) log += "; ";
    log.append(line, static_cast<size_t>(size));
  }
  return log;
}

}  // namespace pvecri
