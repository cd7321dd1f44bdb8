// Mapping and checking of the container's description.
#include "shim/spec.h"

#include <sys/mman.h>
#include <sys/stat.h>

namespace pvecri {

bool ReadSpec(int fd, ShimSpec* spec, Failure* failure) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return failure->Set("spec", "size");
  spec->size = static_cast<size_t>(status.st_size);
  void* map = ::mmap(nullptr, spec->size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) return failure->Set("spec", "map");
  spec->data = map;
  Field field, part;
  Reader reader(spec->data, spec->size);
  while (reader.Next(&field)) {
    switch (field.tag) {
      case Tag::kId:
        spec->id = field.text();
        break;
      case Tag::kDirectory:
        spec->directory = field.text();
        break;
      case Tag::kRunDirectory:
        spec->run_directory = field.text();
        break;
      case Tag::kLogPath:
        spec->log_path = field.text();
        break;
      case Tag::kLogFolder:
        spec->log_folder = field.text();
        break;
      case Tag::kCgroupRoot:
        spec->cgroup_root = field.text();
        break;
      case Tag::kCgroupOuter:
        spec->cgroup_outer = field.text();
        break;
      case Tag::kCgroupMonitor:
        spec->cgroup_monitor = field.text();
        break;
      case Tag::kUserNamespace:
        spec->user_namespace = field.text();
        break;
      case Tag::kRootUid:
        spec->root_uid = static_cast<uid_t>(field.number());
        break;
      case Tag::kRootGid:
        spec->root_gid = static_cast<gid_t>(field.number());
        break;
      case Tag::kPrivileged:
        spec->privileged = field.number() != 0;
        break;
      case Tag::kKeepStdin:
        spec->keep_stdin = field.number() != 0;
        break;
      case Tag::kStdinOnce:
        spec->stdin_once = field.number() != 0;
        break;
      case Tag::kProcess:
        for (Reader process(field); process.Next(&part);) {
          if (part.tag == Tag::kTty) spec->tty = part.number() != 0;
        }
        break;
      default:
        break;  // for the held init
    }
  }
  if (!reader.ok() || !spec->id || !spec->directory || !spec->run_directory || !spec->log_path ||
      !spec->log_folder || !spec->cgroup_root || !spec->cgroup_outer || !spec->cgroup_monitor) {
    return failure->Set("spec", "field", EINVAL);
  }
  return true;
}

}  // namespace pvecri
