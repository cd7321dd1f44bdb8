// Namespaces, root folder and capabilities of the process that unpacks.
#include "unpack/confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

Result ReadSmallFile(const char* path, std::string* text) {
  UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return SystemFailure(path);
  char buffer[4096];
  ssize_t size = ::read(fd.get(), buffer, sizeof buffer);
  if (size < 0) return SystemFailure(path);
  text->assign(buffer, static_cast<size_t>(size));
  return {};
}

// Writes the map of `child` that gives every id this process has the same number there.
Result WriteIdentityMap(pid_t child, const char* file) {
  std::string own;
  if (Result failure = ReadSmallFile((std::string("/proc/self/") + file).c_str(), &own)) {
    return failure;
  }
  std::string map;
  const char* line = own.c_str();
  unsigned inside = 0, outside = 0, count = 0;
  for (int used = 0; ::sscanf(line, "%u %u %u%n", &inside, &outside, &count, &used) == 3;
       line += used) {
    std::string id = std::to_string(inside);
    map += id + " " + id + " " + std::to_string(count) + "\n";
  }
  std::string path = "/proc/" + std::to_string(child) + "/" + file;
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return SystemFailure(path);
  // The kernel takes a map in a single write (user_namespaces(7)).
  if (::write(fd.get(), map.data(), map.size()) != static_cast<ssize_t>(map.size())) {
    return SystemFailure(path);
  }
  return {};
}

Result EnterTarget(int target_fd) {
  // Nothing that is mounted here may travel back to the host.
  if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return SystemFailure("cannot make mounts private");
  }
  // The working folder is the target: unlike a descriptor it has moved into the new mount
  // namespace. But a mount that is attached nowhere is in none, and is taken as it is.
  UniqueFd clone(::open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!clone && errno != EINVAL) return SystemFailure("open_tree");
  int tree = clone ? clone.get() : target_fd;
  struct mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  if (::mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
    return SystemFailure("mount_setattr");
  }
  if (::move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return SystemFailure("move_mount");
  }
  if (::fchdir(tree) != 0) return SystemFailure("fchdir");
  // With one folder for both, the old root ends up on top of the new one and is taken off again
  // (pivot_root(2), NOTES).
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return SystemFailure("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return SystemFailure("cannot leave the host's root folder");
  if (::chdir("/") != 0) return SystemFailure("chdir");
  // Through this descriptor `..` would still lead to the host.
  (void)::close(target_fd);
  return {};
}

Result DropPrivileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return SystemFailure("no_new_privs");
  const uint32_t kept = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER |
                        1u << CAP_FSETID | 1u << CAP_SETFCAP;
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {{kept, kept, 0}, {0, 0, 0}};
  if (::syscall(SYS_capset, &header, data) != 0) return SystemFailure("capset");
  return {};
}

Result Confine(int target_fd, int parent_socket) {
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                CLONE_NEWCGROUP) != 0) {
    return SystemFailure("cannot make namespaces (is user.max_user_namespaces 0?)");
  }
  char byte = 0;
  if (::write(parent_socket, &byte, 1) != 1 || ::read(parent_socket, &byte, 1) != 1) {
    return SystemFailure("the id maps were not written", ECANCELED);
  }
  if (Result failure = EnterTarget(target_fd)) return failure;
  return DropPrivileges();
}

// Waits for the child's end, or ends it when nobody reads the report any more.
Result WaitForChild(pid_t child, int watch_fd, int* code) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!pidfd) return SystemFailure("pidfd_open");
  for (;;) {
    // No event is asked for on the pipe: POLLERR, its reader's end, is always reported (poll(2)).
    pollfd polled[] = {{pidfd.get(), POLLIN, 0}, {watch_fd, 0, 0}};
    if (::poll(polled, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return SystemFailure("poll");
    }
    if (polled[0].revents == 0) (void)::kill(child, SIGKILL);
    break;
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return SystemFailure("waitpid");
  *code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {};
}

}  // namespace

Result RunConfined(int target_fd, int watch_fd, int (*body)(Result, void*), void* argument,
                   int* code) {
  if (::fchdir(target_fd) != 0) return SystemFailure("cannot enter the target folder");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return SystemFailure("socketpair");
  }
  UniqueFd own(ends[0]), peer(ends[1]);
  // Ahead of the fork: a process that has unshared its children's PID namespace may make no
  // threads.
  if (::unshare(CLONE_NEWPID) != 0) return SystemFailure("cannot make a PID namespace");
  pid_t child = ::fork();
  if (child < 0) return SystemFailure("fork");
  if (child == 0) {
    own.reset();
    // The parent may be killed at any time; what it started must not outlive it.
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    Result failure = Confine(target_fd, peer.get());
    peer.reset();
    ::_exit(body(std::move(failure), argument));
  }
  peer.reset();
  char byte;
  if (::read(own.get(), &byte, 1) == 1) {
    Result failure = WriteIdentityMap(child, "uid_map");
    if (!failure) failure = WriteIdentityMap(child, "gid_map");
    if (failure) {
      // The child sees the end of the socket, and ends.
      (void)::kill(child, SIGKILL);
      (void)::waitpid(child, nullptr, 0);
      return failure;
    }
    (void)::send(own.get(), &byte, 1, MSG_NOSIGNAL);
  }
  return WaitForChild(child, watch_fd, code);
}

}  // namespace pvecri
