// Mounts, masks and device links of the container, built from inside it through descriptors alone.
#include "init/set_up.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/syscalls.h"
#include "init/devices.h"
#include "init/root_path.h"

namespace pvecri {
namespace {

constexpr unsigned kCloneTree = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;

bool Attach(int mount, int target) {
  return ::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) ==
         0;
}

bool SetReadOnly(int mount, unsigned flags) {
  mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  return ::mount_setattr(mount, "", AT_EMPTY_PATH | flags, &attributes, sizeof(attributes)) == 0;
}

// A new file system as a detached mount. Options are "key", "value" pairs, ended by nullptr.
UniqueFd MakeFilesystem(const char* type, const char* const* options, unsigned attributes) {
  UniqueFd context(::fsopen(type, FSOPEN_CLOEXEC));
  if (!context) return UniqueFd();
  for (; *options; options += 2) {
    if (::fsconfig(context.get(), FSCONFIG_SET_STRING, options[0], options[1], 0) != 0) {
      return UniqueFd();
    }
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return UniqueFd();
  return UniqueFd(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
}

bool IsFolder(int fd) {
  struct stat status;
  return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

// The few files of procfs that may be mounted over, as the OCI runtimes allow for lxcfs and its
// like.
bool MayCoverProc(const char* target) {
  static const char* const kAllowed[] = {"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg",
                                         "/proc/meminfo", "/proc/slabinfo",  "/proc/stat",
                                         "/proc/swaps",   "/proc/uptime"};
  for (const char* allowed : kAllowed) {
    if (strcmp(target, allowed) == 0) return true;
  }
  return false;
}

bool AttachMount(int root, int mount, const char* target, Failure* failure) {
  UniqueFd at = ResolveOrMake(root, target, IsFolder(mount));
  if (!at) return failure->Set("mount target", target);
  if (IsFolder(mount) != IsFolder(at.get())) {
    return failure->Set("mount target", target, IsFolder(mount) ? ENOTDIR : EISDIR);
  }
  struct statfs filesystem;
  if (::fstatfs(at.get(), &filesystem) != 0) return failure->Set("mount target", target);
  if (filesystem.f_type == PROC_SUPER_MAGIC && !MayCoverProc(target)) {
    return failure->Set("mount target in /proc", target, EPERM);
  }
  if (!Attach(mount, at.get())) return failure->Set("mount", target);
  return true;
}

bool MountDevice(int root, const char* type, const char* target, const char* const* options,
                 Failure* failure) {
  UniqueFd mount =
      MakeFilesystem(type, options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!mount) return failure->Set("file system", target);
  return AttachMount(root, mount.get(), target, failure);
}

bool SetUpDevices(int root, bool own_shm, Failure* failure) {
  static const char* const kShm[] = {"mode", "1777", "size", "65536k", nullptr};
  static const char* const kNone[] = {nullptr};
  if (own_shm && !MountDevice(root, "tmpfs", "/dev/shm", kShm, failure)) return false;
  // A kernel without POSIX message queues has no such file system.
  if (!MountDevice(root, "mqueue", "/dev/mqueue", kNone, failure) && failure->error != ENODEV) {
    return false;
  }
  static const char* const kLinks[][2] = {
      {"/proc/self/fd", "fd"},       {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
      {"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"},      {"pts/ptmx", "ptmx"}};
  UniqueFd dev = ResolveInRoot(root, "/dev");
  if (!dev) return failure->Set("device link", "/dev");
  for (const auto& link : kLinks) {
    if (::symlinkat(link[0], dev.get(), link[1]) != 0 && errno != EEXIST) {
      return failure->Set("device link", link[1]);
    }
  }
  return true;
}

// Covers files with the real null device and folders with one shared, empty, read-only tmpfs.
class Masker {
 public:
  explicit Masker(int root) : root_(root) {}

  bool Mask(const char* path, Failure* failure) {
    UniqueFd target = ResolveInRoot(root_, path);
    if (!target) return errno == ENOENT || errno == ENOTDIR || failure->Set("masked path", path);
    bool done = IsFolder(target.get()) ? MaskFolder(target.get(), path) : MaskFile(target.get());
    return done || failure->Set("masked path", path);
  }

 private:
  bool MaskFile(int target) {
    UniqueFd null = ResolveInRoot(root_, "/dev/null");
    struct stat status;
    // An image or a volume may have put something else there (CVE-2025-31133).
    if (!null || ::fstat(null.get(), &status) != 0) return false;
    if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
      errno = ENODEV;
      return false;
    }
    UniqueFd mount(::open_tree(null.get(), "", kCloneTree));
    return mount && Attach(mount.get(), target);
  }

  bool MaskFolder(int target, const char* path) {
    UniqueFd mount;
    if (empty_) {
      mount.reset(::open_tree(empty_.get(), "", kCloneTree));
      return mount && Attach(mount.get(), target);
    }
    static const char* const kTiny[] = {"nr_blocks", "1", "nr_inodes", "1", "mode", "555", nullptr};
    mount = MakeFilesystem(
        "tmpfs", kTiny,
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (!mount || !Attach(mount.get(), target)) return false;
    // Before Linux 6.15 only an attached mount can be cloned, so the first one serves the others.
    empty_ = ResolveInRoot(root_, path);
    return static_cast<bool>(empty_);
  }

  int root_;
  UniqueFd empty_;
};

bool MakeReadOnly(int root, const char* path, Failure* failure) {
  UniqueFd target = ResolveInRoot(root, path);
  if (!target) return errno == ENOENT || errno == ENOTDIR || failure->Set("read-only path", path);
  UniqueFd mount(::open_tree(target.get(), "", kCloneTree | AT_RECURSIVE));
  if (!mount || !SetReadOnly(mount.get(), 0) || !Attach(mount.get(), target.get())) {
    return failure->Set("read-only path", path);
  }
  return true;
}

bool AttachSpecMount(int root, const Field& field, const int* mounts, size_t mount_count,
                     size_t* next, Failure* failure) {
  Field part;
  const char* target = nullptr;
  for (Reader reader(field); reader.Next(&part);) {
    if (part.tag == Tag::kMountTarget) target = part.text();
  }
  if (!target || *next >= mount_count) return failure->Set("spec", "mount", EINVAL);
  return AttachMount(root, mounts[(*next)++], target, failure);
}

bool HasMountAt(const void* spec, size_t size, const char* wanted) {
  Field field, part;
  for (Reader reader(spec, size); reader.Next(&field);) {
    if (field.tag != Tag::kMount) continue;
    for (Reader mount(field); mount.Next(&part);) {
      const char* text = part.tag == Tag::kMountTarget ? part.text() : nullptr;
      if (text && strcmp(text, wanted) == 0) return true;
    }
  }
  return false;
}

bool HasUserNamespace(const void* spec, size_t size) {
  Field field;
  for (Reader reader(spec, size); reader.Next(&field);) {
    if (field.tag == Tag::kUserNamespace) return true;
  }
  return false;
}

bool MakeCwd(int root, const Field& process, Failure* failure) {
  Field part;
  for (Reader reader(process); reader.Next(&part);) {
    if (part.tag != Tag::kCwd) continue;
    const char* cwd = part.text();
    if (!cwd) return failure->Set("spec", "cwd", EINVAL);
    // What can't be made is told at the start, by chdir, with the path as the payload sees it.
    (void)ResolveOrMake(root, cwd, true);
  }
  return true;
}

}  // namespace

bool SetUpContainer(const void* spec, size_t size, const int* mounts, size_t mount_count,
                    Failure* failure) {
  UniqueFd root = OpenRoot();
  if (!root) return failure->Set("root", "/");
  ::umask(0);
  if (!SetUpDevices(root.get(), !HasMountAt(spec, size, "/dev/shm"), failure)) return false;
  // Before the mounts: no node lands in a folder of the host.
  size_t next = 0;
  if (HasUserNamespace(spec, size)
          ? !AttachDevices(root.get(), spec, size, mounts, mount_count, &next, failure)
          : !MakeDevices(root.get(), spec, size, failure)) {
    return false;
  }
  Field field;
  for (Reader reader(spec, size); reader.Next(&field);) {
    if (field.tag == Tag::kMount &&
        !AttachSpecMount(root.get(), field, mounts, mount_count, &next, failure)) {
      return false;
    }
  }
  if (!FindDevices(root.get(), spec, size, failure)) return false;
  Masker masker(root.get());
  bool readonly = false;
  for (Reader reader(spec, size); reader.Next(&field);) {
    const char* text = field.text();
    if (field.tag == Tag::kMaskedPath && text && !masker.Mask(text, failure)) return false;
    if (field.tag == Tag::kReadonlyPath && text && !MakeReadOnly(root.get(), text, failure)) {
      return false;
    }
    if (field.tag == Tag::kProcess && !MakeCwd(root.get(), field, failure)) return false;
    if (field.tag == Tag::kReadonlyRootfs) readonly = field.number() != 0;
  }
  if (readonly && !SetReadOnly(root.get(), 0)) return failure->Set("read-only root", "/");
  return true;
}

bool MakeConsole(int terminal, Failure* failure) {
  UniqueFd root = OpenRoot();
  UniqueFd console = ResolveOrMake(root.get(), "/dev/console", false);
  UniqueFd mount(::open_tree(terminal, "", kCloneTree));
  if (!console || !mount || !Attach(mount.get(), console.get())) {
    return failure->Set("terminal", "/dev/console");
  }
  return true;
}

}  // namespace pvecri
