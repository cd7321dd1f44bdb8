// Nodes are made, or bound from a folder of the container's own: a payload that changes the owner
// or mode of one changes its own.
#include "init/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/wire.h"
#include "init/root_path.h"

namespace pvecri {
namespace {

struct Device {
  const char* path = nullptr;
  mode_t mode = 0;
  dev_t number = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  bool optional = false;
};

bool ParseDevice(const Field& field, Device* device, Failure* failure) {
  unsigned major = 0, minor = 0;
  device->mode = S_IFCHR;
  Field part;
  for (Reader reader(field); reader.Next(&part);) {
    unsigned number = static_cast<unsigned>(part.number());
    if (part.tag == Tag::kDevicePath) device->path = part.text();
    if (part.tag == Tag::kDeviceIsBlock && number != 0) device->mode ^= S_IFCHR ^ S_IFBLK;
    if (part.tag == Tag::kDeviceMajor) major = number;
    if (part.tag == Tag::kDeviceMinor) minor = number;
    if (part.tag == Tag::kDeviceMode) device->mode |= number & 0777;
    if (part.tag == Tag::kDeviceUid) device->uid = number;
    if (part.tag == Tag::kDeviceGid) device->gid = number;
    if (part.tag == Tag::kDeviceOptional) device->optional = number != 0;
  }
  device->number = makedev(major, minor);
  return device->path || failure->Set("spec", "device", EINVAL);
}

bool IsThere(int root, const Device& device) {
  UniqueFd found = ResolveInRoot(root, device.path);
  struct stat status;
  return found && ::fstat(found.get(), &status) == 0 && status.st_rdev == device.number &&
         (status.st_mode & S_IFMT) == (device.mode & S_IFMT);
}

// The folder of the path, made when it is missing, and the name in it.
UniqueFd OpenFolder(int root, const char* path, char* name) {
  char folder[PATH_MAX];
  int length = snprintf(folder, sizeof(folder), "%s", path);
  while (length > 0 && length < PATH_MAX && folder[length - 1] == '/') folder[--length] = 0;
  char* slash = length < PATH_MAX ? strrchr(folder, '/') : nullptr;
  if (!slash || strlen(slash + 1) > NAME_MAX) {
    errno = ENAMETOOLONG;
    return UniqueFd();
  }
  strcpy(name, slash + 1);
  *slash = 0;
  if (*name == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
    errno = EINVAL;
    return UniqueFd();
  }
  return ResolveOrMake(root, *folder ? folder : "/", true);
}

bool MakeDevice(int root, const Device& device, Failure* failure) {
  // /dev/ptmx and the like are there already, some as links.
  if (IsThere(root, device)) return true;
  char name[NAME_MAX + 1];
  UniqueFd folder = OpenFolder(root, device.path, name);
  if (!folder) return failure->Set("device", device.path);
  int made = ::mknodat(folder.get(), name, device.mode, device.number);
  if (made != 0 && errno == EEXIST) {
    if (device.optional) return true;
    made = ::unlinkat(folder.get(), name, 0);
    if (made == 0) made = ::mknodat(folder.get(), name, device.mode, device.number);
  }
  if (made != 0 || ::fchownat(folder.get(), name, device.uid, device.gid, AT_SYMLINK_NOFOLLOW)) {
    return failure->Set("device", device.path);
  }
  return true;
}

// Over an empty file, made where nothing is.
bool AttachDevice(int root, const Device& device, int mount, Failure* failure) {
  if (IsThere(root, device)) return true;
  UniqueFd found = ResolveInRoot(root, device.path);
  if (found && device.optional) return true;
  if (!found) found = ResolveOrMake(root, device.path, false);
  if (!found || ::move_mount(mount, "", found.get(), "",
                             MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return failure->Set("device", device.path);
  }
  return true;
}

}  // namespace

bool AttachDevices(int root, const void* spec, size_t size, const int* mounts, size_t mount_count,
                   size_t* next, Failure* failure) {
  Field field;
  for (Reader reader(spec, size); reader.Next(&field);) {
    Device device;
    if (field.tag != Tag::kDevice) continue;
    if (!ParseDevice(field, &device, failure)) return false;
    if (*next >= mount_count) return failure->Set("spec", "device", EINVAL);
    if (!AttachDevice(root, device, mounts[(*next)++], failure)) return false;
  }
  return true;
}

bool MakeDevices(int root, const void* spec, size_t size, Failure* failure) {
  Field field;
  for (Reader reader(spec, size); reader.Next(&field);) {
    Device device;
    if (field.tag != Tag::kDevice) continue;
    if (!ParseDevice(field, &device, failure) || !MakeDevice(root, device, failure)) return false;
  }
  return true;
}

bool FindDevices(int root, const void* spec, size_t size, Failure* failure) {
  Field field;
  for (Reader reader(spec, size); reader.Next(&field);) {
    Device device;
    if (field.tag != Tag::kDevice) continue;
    if (!ParseDevice(field, &device, failure)) return false;
    if (!device.optional && !IsThere(root, device)) {
      return failure->Set("device covered", device.path, EBUSY);
    }
  }
  return true;
}

}  // namespace pvecri
