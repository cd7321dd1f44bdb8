// Kernel parameters of a namespace.
#include "addon/sysctl.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

// Empty for a malformed key. The first separator decides, as in sysctl(8): `net.ipv4.conf.eth0/1.x`
// and `net/ipv4/conf/eth0.1/x` both name the interface eth0.1.
std::vector<std::string> Split(const std::string& key) {
  size_t first = key.find_first_of("./");
  if (first == std::string::npos) return {};
  char separator = key[first];
  std::vector<std::string> parts(1);
  for (char c : key) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return {};
    if (c == separator) {
      parts.emplace_back();
    } else if (c == '/') {
      parts.back() += '.';
    } else {
      parts.back() += c;
    }
  }
  for (const std::string& part : parts) {
    if (part.empty() || part == "." || part == "..") return {};
  }
  return parts;
}

bool BelongsToNetwork(const std::vector<std::string>& parts) {
  return parts.size() >= 2 && parts[0] == "net";
}

bool BelongsToIpc(const std::vector<std::string>& parts) {
  if (parts.size() == 3) return parts[0] == "fs" && parts[1] == "mqueue";
  if (parts.size() != 2 || parts[0] != "kernel") return false;
  return parts[1] == "sem" || parts[1].starts_with("shm") || parts[1].starts_with("msg");
}

Failure WriteFile(const std::string& path, const std::string& value) {
  // /proc/sys shows the namespaces of the thread that opens it.
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return {errno, "open", path, {}};
  if (write(fd.get(), value.data(), value.size()) < 0) return {errno, "write", path, {}};
  return {};
}

}  // namespace

std::string NamespacedSysctlPath(const std::string& key, bool net, bool ipc) {
  std::vector<std::string> parts = Split(key);
  if (!(net && BelongsToNetwork(parts)) && !(ipc && BelongsToIpc(parts))) return {};
  std::string path = "/proc/sys";
  for (const std::string& part : parts) path += "/" + part;
  return path;
}

Failure WriteSysctl(const Sysctl& sysctl, bool net, bool ipc, uid_t root_uid) {
  std::string path = NamespacedSysctlPath(sysctl.key, net, ipc);
  if (path.empty()) {
    return {EINVAL, "sysctl", sysctl.key, "not a parameter of a namespace that is new here"};
  }
  Failure failure = WriteFile(path, sysctl.value);
  if (root_uid == 0 || (failure.error != EACCES && failure.error != EPERM)) return failure;
  // Those of an IPC namespace are its own root's alone, and no capability of the host's helps
  // (ipc_permissions). By system call: glibc would change the user of all threads.
  if (syscall(SYS_setresuid, -1, root_uid, -1) < 0) return {errno, "setresuid", {}, {}};
  failure = WriteFile(path, sysctl.value);
  if (syscall(SYS_setresuid, -1, 0, -1) < 0) return {errno, "setresuid", {}, {}};
  return failure;
}

}  // namespace pvecri
