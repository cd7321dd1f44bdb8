// Exit record and start mark.
#include "shim/ending.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

bool WriteFile(int directory, const char* name, const char* text, size_t length, bool sync) {
  UniqueFd file(
      ::openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  return file && ::write(file.get(), text, length) == static_cast<ssize_t>(length) &&
         (!sync || ::fsync(file.get()) == 0);
}

}  // namespace

uint64_t NowNanoseconds() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

void WriteStarted(int directory, uint64_t started_at) {
  char text[32];
  int length = snprintf(text, sizeof(text), "%llu\n", static_cast<unsigned long long>(started_at));
  (void)WriteFile(directory, "started", text, static_cast<size_t>(length), false);
}

bool WriteExit(int directory, const ExitRecord& record) {
  char text[1024];
  int length = snprintf(
      text, sizeof(text),
      "version 1\ncode %d\nsignal %d\nstarted %llu\nfinished %llu\noom %d\nmessage %s\n",
      record.exit_code, record.signal, static_cast<unsigned long long>(record.started_at),
      static_cast<unsigned long long>(record.finished_at), record.oom_killed, record.message);
  return WriteFile(directory, "exit.new", text, static_cast<size_t>(length), true) &&
         ::renameat(directory, "exit.new", directory, "exit") == 0 && ::fsync(directory) == 0;
}

}  // namespace pvecri
