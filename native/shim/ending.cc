// Exit record, start mark and the container's cgroups at its end.
#include "shim/ending.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace pvecri {
namespace {

UniqueFd OpenCgroup(const ShimSpec& spec, const char* cgroup) {
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s%s", spec.cgroup_root, cgroup);
  return UniqueFd(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

// The number after `key` in a flat keyed cgroup file; -1 when there is none.
long ReadKey(int folder, const char* file, const char* key) {
  UniqueFd fd(::openat(folder, file, O_RDONLY | O_CLOEXEC));
  char text[512];
  ssize_t length = fd ? ::read(fd.get(), text, sizeof(text) - 1) : -1;
  if (length <= 0) return -1;
  text[length] = 0;
  size_t key_length = strlen(key);
  for (const char* line = text; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, key_length) == 0 && line[key_length] == ' ') {
      return strtol(line + key_length + 1, nullptr, 10);
    }
  }
  return -1;
}

// Removes a cgroup with all below it; nothing runs there any more. `parent` is where it lies.
void RemoveTree(int parent, const char* name) {
  if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return;
  int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* folder = fd >= 0 ? ::fdopendir(fd) : nullptr;
  if (!folder) return;
  while (dirent* entry = ::readdir(folder)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') RemoveTree(fd, entry->d_name);
  }
  ::closedir(folder);
  (void)::unlinkat(parent, name, AT_REMOVEDIR);
}

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

void KillCgroup(const ShimSpec& spec) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  if (!outer) return;
  UniqueFd kill(::openat(outer.get(), "cgroup.kill", O_WRONLY | O_CLOEXEC));
  if (kill) (void)!::write(kill.get(), "1", 1);
  UniqueFd events(::openat(outer.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  for (int round = 0; round < 20 && ReadKey(outer.get(), "cgroup.events", "populated") == 1;
       ++round) {
    char text[128];
    (void)!::pread(events.get(), text, sizeof(text), 0);
    // kernfs tells of a change after the last read by POLLPRI.
    pollfd change = {.fd = events.get(), .events = POLLPRI, .revents = 0};
    if (ReadKey(outer.get(), "cgroup.events", "populated") == 1) (void)::poll(&change, 1, 50);
  }
}

bool HadOomKill(const ShimSpec& spec) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  return outer && ReadKey(outer.get(), "memory.events", "oom_kill") > 0;
}

void RemoveCgroups(const ShimSpec& spec) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  if (outer) RemoveTree(outer.get(), "lxc");
  UniqueFd root = OpenCgroup(spec, "");
  if (root) RemoveTree(root.get(), spec.cgroup_monitor + 1);
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
