// Opening a pty without trust in what the image put into /dev.
#include "common/terminal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/syscalls.h"

namespace pvecri {

bool OpenTerminal(UniqueFd* master, UniqueFd* slave, Failure* failure) {
  UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  UniqueFd device(OpenAt2(root.get(), "/dev/pts/ptmx", O_RDWR | O_NOCTTY,
                          RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS));
  struct statfs filesystem;
  if (!device || ::fstatfs(device.get(), &filesystem) != 0) return failure->Set("terminal", "ptmx");
  if (filesystem.f_type != DEVPTS_SUPER_MAGIC) return failure->Set("terminal", "ptmx", ENODEV);
  int unlocked = 0;
  if (::ioctl(device.get(), TIOCSPTLCK, &unlocked) != 0) return failure->Set("terminal", "unlock");
  // By descriptor: a path such as /dev/pts/0 could be swapped (CVE-2025-52565).
  UniqueFd peer(::ioctl(device.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!peer) return failure->Set("terminal", "slave");
  *master = std::move(device);
  *slave = std::move(peer);
  return true;
}

bool SetTerminalSize(int master, uint64_t rows, uint64_t columns) {
  winsize size = {.ws_row = static_cast<unsigned short>(rows),
                  .ws_col = static_cast<unsigned short>(columns)};
  return ::ioctl(master, TIOCSWINSZ, &size) == 0;
}

}  // namespace pvecri
