// A TCP connection to a network namespace's own loopback.
#include "addon/loopback_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>

namespace pvecri {
namespace {

using Clock = std::chrono::steady_clock;

// Returns 0 or an errno.
int WaitConnected(int fd, Clock::time_point deadline) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wanted = {.fd = fd, .events = POLLOUT, .revents = 0};
    int count = poll(&wanted, 1, left > 0 ? static_cast<int>(left) : 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return errno;
    return error;
  }
}

Failure Connect(const sockaddr* address, socklen_t size, Clock::time_point deadline,
                UniqueFd* result) {
  UniqueFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return {errno, "socket", {}, {}};
  if (connect(fd.get(), address, size) < 0) {
    int error = errno == EINPROGRESS ? WaitConnected(fd.get(), deadline) : errno;
    if (error != 0) return {error, "connect", {}, {}};
  }
  *result = std::move(fd);
  return {};
}

}  // namespace

Failure ConnectLoopback(const std::string& path, uint16_t port, int timeout_ms, UniqueFd* result) {
  if (!path.empty()) {
    UniqueFd space(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!space) return {errno, "open", path, {}};
    if (setns(space.get(), CLONE_NEWNET) < 0) return {errno, "setns", path, {}};
  }
  Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Failure first = Connect(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4), deadline, result);
  if (!first) return {};
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = in6addr_loopback;
  Failure second = Connect(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6), deadline, result);
  // A namespace without IPv6 must not hide what the other address answered.
  return second ? first : Failure{};
}

}  // namespace pvecri
