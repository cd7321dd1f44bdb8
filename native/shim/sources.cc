// Clones of mount sources, their flags and propagation.
#include "shim/sources.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/fd_passing.h"
#include "common/gate.h"
#include "shim/device_mounts.h"

namespace pvecri {
namespace {

struct Mount {
  const char* source = nullptr;
  int descriptor = -1;
  bool readonly = false;
  bool recursive_readonly = false;
  bool idmapped = false;
  Propagation propagation = Propagation::kPrivate;
  uint64_t restrictions = 0;
};

bool ParseMount(const Field& field, Mount* mount) {
  Field part;
  for (Reader reader(field); reader.Next(&part);) {
    if (part.tag == Tag::kMountSource) mount->source = part.text();
    if (part.tag == Tag::kMountDescriptor) mount->descriptor = static_cast<int>(part.number());
    if (part.tag == Tag::kMountReadonly) mount->readonly = part.number() != 0;
    if (part.tag == Tag::kMountRecursiveReadonly) mount->recursive_readonly = part.number() != 0;
    if (part.tag == Tag::kMountRestrictions) {
      mount->restrictions = static_cast<uint64_t>(part.number());
    }
    if (part.tag == Tag::kMountIdmapped) mount->idmapped = part.number() != 0;
    if (part.tag == Tag::kMountPropagation) {
      mount->propagation = static_cast<Propagation>(part.number());
    }
  }
  return mount->source != nullptr;
}

// Whether the mount that holds the path has this optional field of mountinfo, "shared:" for one in
// a peer group, "master:" for one that receives from it.
bool HasPropagation(const char* path, const char* tag) {
  struct statx status;
  if (::statx(AT_FDCWD, path, 0, STATX_MNT_ID, &status) != 0) return false;
  FILE* table = ::fopen("/proc/self/mountinfo", "re");
  if (!table) return false;
  char* line = nullptr;
  size_t room = 0;
  bool found = false;
  while (::getline(&line, &room, table) > 0) {
    if (strtoull(line, nullptr, 10) != status.stx_mnt_id) continue;
    const char* optional = strstr(line, tag);
    const char* separator = strstr(line, " - ");
    found = optional && separator && optional < separator;
    break;
  }
  free(line);
  ::fclose(table);
  return found;
}

bool MayPropagate(const Mount& mount) {
  if (mount.propagation == Propagation::kPrivate) return true;
  if (HasPropagation(mount.source, " shared:")) return true;
  return mount.propagation == Propagation::kSlave && HasPropagation(mount.source, " master:");
}

// Of the mount itself, as the OCI runtimes do it; what is mounted below belongs to whom it does.
bool MapIds(int tree, const ShimSpec& spec, const Mount& mount, Failure* failure) {
  UniqueFd space(spec.user_namespace ? ::open(spec.user_namespace, O_RDONLY | O_CLOEXEC) : -1);
  if (!space) return failure->Set("user namespace", spec.user_namespace ? spec.user_namespace : "");
  mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP,
                           .userns_fd = static_cast<uint64_t>(space.get())};
  return ::mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) == 0 ||
         failure->Set("idmapped mount", mount.source);
}

UniqueFd OpenSource(const ShimSpec& spec, const Mount& mount, Failure* failure) {
  UniqueFd tree(
      ::open_tree(AT_FDCWD, mount.source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!tree) {
    failure->Set("mount source", mount.source);
    return UniqueFd();
  }
  mount_attr spread = {};
  if (mount.propagation == Propagation::kPrivate) spread.propagation = MS_PRIVATE;
  if (mount.propagation == Propagation::kSlave) spread.propagation = MS_SLAVE;
  if (!MayPropagate(mount)) {
    bool shared = mount.propagation == Propagation::kShared;
    failure->Set(shared ? "mount shared" : "mount slave", mount.source, EINVAL);
    return UniqueFd();
  }
  mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
  mount_attr restricted = {.attr_set = mount.restrictions};
  unsigned depth = AT_EMPTY_PATH | (mount.recursive_readonly ? AT_RECURSIVE : 0);
  if ((spread.propagation != 0 && ::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE,
                                                  &spread, sizeof(spread)) != 0) ||
      ((mount.readonly || mount.recursive_readonly) &&
       ::mount_setattr(tree.get(), "", depth, &readonly, sizeof(readonly)) != 0) ||
      (mount.restrictions != 0 && ::mount_setattr(tree.get(), "", AT_EMPTY_PATH | AT_RECURSIVE,
                                                  &restricted, sizeof(restricted)) != 0)) {
    failure->Set(mount.recursive_readonly ? "recursive read-only" : "mount flags", mount.source);
    return UniqueFd();
  }
  if (mount.idmapped && !MapIds(tree.get(), spec, mount, failure)) return UniqueFd();
  return tree;
}

}  // namespace

bool SendMounts(const ShimSpec& spec, int gate, Failure* failure) {
  if (spec.user_namespace && !SendDevices(spec, gate, failure)) return false;
  // One message each: closing our copy at once keeps the shim's descriptors few.
  Field field;
  for (Reader reader(spec.data, spec.size); reader.Next(&field);) {
    if (field.tag != Tag::kMount) continue;
    Mount mount;
    if (!ParseMount(field, &mount)) return failure->Set("spec", "mount", EINVAL);
    UniqueFd tree =
        mount.descriptor >= 0 ? UniqueFd(mount.descriptor) : OpenSource(spec, mount, failure);
    if (!tree) return false;
    int fd = tree.get();
    if (!SendMessage(gate, &kGateMounts, 1, &fd, 1)) return failure->Set("gate", mount.source);
  }
  return true;
}

}  // namespace pvecri
