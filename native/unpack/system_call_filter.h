// The system calls that are left to the process that unpacks.
#pragma once

#include "unpack/failure.h"

namespace pvecri {

// From now on this process and its threads can do what unpacking takes, and get EPERM for the rest:
// no new process, no program, no socket, no memory that can be run, no file by an absolute path or
// from the working folder. To be called after no_new_privs, with the root folder open.
Result FilterSystemCalls();

}  // namespace pvecri
