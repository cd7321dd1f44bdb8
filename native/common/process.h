// The last steps of a held init or an exec helper: from root with every capability to the payload.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/failure.h"
#include "common/wire.h"

namespace pvecri {

// As setrlimit(2) has it.
struct Rlimit {
  uint64_t resource, soft, hard;
};

// Points into the message it was parsed from.
struct Process {
  char** argv = nullptr;
  char** envp = nullptr;
  const char* cwd = "/";
  uid_t uid = 0;
  gid_t gid = 0;
  gid_t* groups = nullptr;
  size_t group_count = 0;
  uint64_t capabilities = 0;
  uint64_t ambient_capabilities = 0;
  bool no_new_privileges = false;
  const uint8_t* seccomp = nullptr;
  uint32_t seccomp_size = 0;
  unsigned seccomp_flags = 0;  // SECCOMP_FILTER_FLAG_*
  const char* apparmor_profile = nullptr;
  bool has_oom_score_adj = false;
  int oom_score_adj = 0;
  Rlimit* rlimits = nullptr;
  size_t rlimit_count = 0;
  bool tty = false;
};

bool ParseProcess(const Field& field, Process* process, Failure* failure);

// Every signal at its default and none blocked: ignored ones would survive execve.
void ResetSignals();

// Limits and oom_score_adj of a process, for one in a user namespace, where it could not raise them
// itself: BecomePayload finds them as they should be. `pid` 0 is the caller.
bool RaiseLimits(pid_t pid, const Process& process, Failure* failure);

// What OwnStdio of BecomePayload can only do to pipes that belong to an id of its user namespace.
void GivePipes(uid_t uid, gid_t gid);

// Becomes the payload with descriptors 0, 1 and 2 as they are; every other one must be
// close-on-exec. `alive` is polled before execve: when it has hung up, whoever supervises is gone
// and the process ends. Returns only on failure.
void BecomePayload(const Process& process, int alive, Failure* failure);

}  // namespace pvecri
