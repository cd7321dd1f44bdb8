// The nodes are made in a tmpfs of the host's user namespace, whose device files work, and handed
// over as mounts of one file each: mknod in a user namespace is refused, and so is every node of a
// file system that was mounted in one.
#include "shim/device_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/fd_passing.h"
#include "common/gate.h"
#include "common/unique_fd.h"
#include "common/wire.h"

namespace pvecri {
namespace {

// Owner 0 and the like are the container's ids.
UniqueFd MakeNode(const ShimSpec& spec, int folder, const Field& field, int number) {
  unsigned major = 0, minor = 0, permissions = 0, is_block = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  Field part;
  for (Reader reader(field); reader.Next(&part);) {
    unsigned value = static_cast<unsigned>(part.number());
    if (part.tag == Tag::kDeviceIsBlock) is_block = value;
    if (part.tag == Tag::kDeviceMajor) major = value;
    if (part.tag == Tag::kDeviceMinor) minor = value;
    if (part.tag == Tag::kDeviceMode) permissions = value & 0777;
    if (part.tag == Tag::kDeviceUid) uid = value;
    if (part.tag == Tag::kDeviceGid) gid = value;
  }
  char name[16];
  snprintf(name, sizeof(name), "%d", number);
  mode_t mode = permissions | (is_block ? S_IFBLK : S_IFCHR);
  // The mask of the shim must not narrow what was asked for.
  if (::mknodat(folder, name, mode, makedev(major, minor)) != 0 ||
      ::fchmodat(folder, name, permissions, 0) != 0 ||
      ::fchownat(folder, name, spec.root_uid + uid, spec.root_gid + gid, 0) != 0) {
    return UniqueFd();
  }
  return UniqueFd(::open_tree(folder, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

bool SendNodes(const ShimSpec& spec, int gate, Failure* failure) {
  // A mount that is attached nowhere cannot be cloned before Linux 6.15.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
      ::mount("tmpfs", spec.run_directory, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=700") != 0) {
    return failure->Set("device folder", spec.run_directory);
  }
  UniqueFd folder(::open(spec.run_directory, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return failure->Set("device folder", spec.run_directory);
  int number = 0;
  Field field, part;
  for (Reader reader(spec.data, spec.size); reader.Next(&field);) {
    if (field.tag != Tag::kDevice) continue;
    UniqueFd node = MakeNode(spec, folder.get(), field, number++);
    if (!node) {
      const char* path = "";
      int error = errno;
      for (Reader device(field); device.Next(&part);) {
        if (part.tag == Tag::kDevicePath && part.text()) path = part.text();
      }
      return failure->Set("device", path, error);
    }
    int fd = node.get();
    if (!SendMessage(gate, &kGateMounts, 1, &fd, 1)) return failure->Set("gate", "device");
  }
  return true;
}

}  // namespace

bool SendDevices(const ShimSpec& spec, int gate, Failure* failure) {
  Field field;
  bool any = false;
  for (Reader reader(spec.data, spec.size); reader.Next(&field);) any |= field.tag == Tag::kDevice;
  if (!any) return true;
  UniqueFd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  UniqueFd cwd(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!own || !cwd || ::unshare(CLONE_NEWNS) != 0) return failure->Set("device folder", "unshare");
  bool sent = SendNodes(spec, gate, failure);
  if (::setns(own.get(), CLONE_NEWNS) != 0 || ::fchdir(cwd.get()) != 0) {
    return failure->Set("device folder", "setns");
  }
  return sent;
}

}  // namespace pvecri
