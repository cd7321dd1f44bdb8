// A terminal of the container's own.
#pragma once

#include "common/failure.h"
#include "common/unique_fd.h"

namespace pvecri {

// A pty of the container's devpts; called inside the container's mount namespace.
bool OpenTerminal(UniqueFd* master, UniqueFd* slave, Failure* failure);

// TIOCSWINSZ on a master: the foreground processes are told by SIGWINCH.
bool SetTerminalSize(int master, uint64_t rows, uint64_t columns);

}  // namespace pvecri
