// Files and folders of the container's cgroups.
#include "shim/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/unique_fd.h"
#include "shim/device_filter.h"

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

void RemoveChildren(int folder);

// Removes a cgroup with all below it; nothing runs there any more. `parent` is where it lies.
void RemoveTree(int parent, const char* name) {
  if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return;
  UniqueFd folder(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder) RemoveChildren(folder.get());
  (void)::unlinkat(parent, name, AT_REMOVEDIR);
}

void RemoveChildren(int folder) {
  int copy = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
  DIR* entries = copy >= 0 ? ::fdopendir(copy) : nullptr;
  if (!entries) return;
  while (dirent* entry = ::readdir(entries)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') RemoveTree(folder, entry->d_name);
  }
  ::closedir(entries);
}

void KillAndWait(int folder) {
  UniqueFd kill(::openat(folder, "cgroup.kill", O_WRONLY | O_CLOEXEC));
  if (kill) (void)!::write(kill.get(), "1", 1);
  UniqueFd events(::openat(folder, "cgroup.events", O_RDONLY | O_CLOEXEC));
  for (int round = 0; round < 20 && ReadKey(folder, "cgroup.events", "populated") == 1; ++round) {
    char text[128];
    (void)!::pread(events.get(), text, sizeof(text), 0);
    // kernfs tells of a change after the last read by POLLPRI.
    pollfd change = {.fd = events.get(), .events = POLLPRI, .revents = 0};
    if (ReadKey(folder, "cgroup.events", "populated") == 1) (void)::poll(&change, 1, 50);
  }
}

}  // namespace

bool PrepareCgroup(const ShimSpec& spec, Failure* failure) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  if (!outer) return failure->Set("cgroup", spec.cgroup_outer);
  return spec.privileged || AttachDeviceFilter(spec, outer.get(), failure);
}

void MirrorLimits(const ShimSpec& spec) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  // The OOM killer looks for memory.oom.group no higher than the level whose limit was passed, and
  // with equal limits that is the leaf.
  for (const char* name : {"memory.max", "memory.oom.group", "cpu.max"}) {
    char leaf[32], text[64];
    snprintf(leaf, sizeof(leaf), "lxc/%s", name);
    UniqueFd from(::openat(outer.get(), name, O_RDONLY | O_CLOEXEC));
    UniqueFd to(::openat(outer.get(), leaf, O_WRONLY | O_CLOEXEC));
    ssize_t length = from && to ? ::read(from.get(), text, sizeof(text)) : 0;
    if (length > 0) (void)!::write(to.get(), text, static_cast<size_t>(length));
  }
}

void KillCgroups(const ShimSpec& spec) {
  for (const char* cgroup : {spec.cgroup_outer, spec.cgroup_monitor}) {
    UniqueFd folder = OpenCgroup(spec, cgroup);
    if (folder) KillAndWait(folder.get());
  }
}

bool HadOomKill(const ShimSpec& spec) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  return outer && ReadKey(outer.get(), "memory.events", "oom_kill") > 0;
}

void RemoveCgroups(const ShimSpec& spec) {
  UniqueFd outer = OpenCgroup(spec, spec.cgroup_outer);
  if (outer) RemoveChildren(outer.get());
  UniqueFd root = OpenCgroup(spec, "");
  if (root) RemoveTree(root.get(), spec.cgroup_monitor + 1);
}

}  // namespace pvecri
