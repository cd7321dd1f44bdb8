// The marks a container leaves in its folder: when it started, how it ended.
#pragma once

#include <stdint.h>

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

// `started` is a hint for a later life of the agent, so it is not synced.
void WriteStarted(int directory, uint64_t started_at);
// Durable: file and folder are synced. False with errno set.
bool WriteExit(int directory, const ExitRecord& record);

}  // namespace pvecri
