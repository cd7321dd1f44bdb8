// Opening and checking of the container's null device.
#include "common/null_device.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace pvecri {

UniqueFd OpenNullDevice() {
  // O_PATH first: opening a FIFO or a device an image put there would already act on it.
  UniqueFd place(::open("/dev/null", O_PATH | O_CLOEXEC));
  struct stat status;
  if (!place || ::fstat(place.get(), &status) != 0) return UniqueFd();
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
    errno = ENODEV;
    return UniqueFd();
  }
  UniqueFd device(::open("/dev/null", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (device && ::fstat(device.get(), &status) == 0 && S_ISCHR(status.st_mode) &&
      status.st_rdev == makedev(1, 3)) {
    return device;
  }
  errno = ENODEV;
  return UniqueFd();
}

}  // namespace pvecri
