// The end of a container: what is left is killed and removed, and the exit record is written.
#pragma once

#include <stdint.h>

#include "shim/spec.h"

namespace pvecri {

struct ExitRecord {
  int exit_code = 0;
  int signal = 0;
  uint64_t started_at = 0;
  uint64_t finished_at = 0;
  bool oom_killed = false;
  const char* message = "";
};

uint64_t NowNanoseconds();

// Kills every process below the container's outer cgroup and waits for them, at most a second.
void KillCgroup(const ShimSpec& spec);
// Whether the kernel killed a process of the container for lack of memory.
bool HadOomKill(const ShimSpec& spec);
// Removes what liblxc made or would have: a stale one fails the next start (EEXIST).
void RemoveCgroups(const ShimSpec& spec);

// `started` is a hint for a later life of the agent, so it is not synced.
void WriteStarted(int directory, uint64_t started_at);
// Durable: file and folder are synced. False with errno set.
bool WriteExit(int directory, const ExitRecord& record);

}  // namespace pvecri
