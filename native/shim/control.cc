// Listening, accepting and framing on the control socket.
#include "shim/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

namespace pvecri {

UniqueFd ListenForControl(Failure* failure) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, kControlSocket, sizeof(kControlSocket));
  (void)::unlink(kControlSocket);
  mode_t mask = ::umask(0177);
  bool bound =
      socket && ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  int bind_error = errno;
  ::umask(mask);
  errno = bind_error;
  if (bound && ::listen(socket.get(), 16) == 0) return socket;
  failure->Set("control socket", kControlSocket);
  return UniqueFd();
}

UniqueFd AcceptControl(int listener) {
  UniqueFd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  ucred peer;
  socklen_t size = sizeof(peer);
  if (!connection || ::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      peer.uid != 0) {
    return UniqueFd();
  }
  return connection;
}

void Connection::Take(UniqueFd fd) {
  fd_ = std::move(fd);
  held_ = 0;
}

uint32_t Connection::length() const {
  uint32_t length;
  memcpy(&length, buffer_, sizeof(length));
  return length;
}

Connection::Got Connection::Read() {
  for (;;) {
    uint32_t wanted = sizeof(uint32_t);
    if (held_ >= wanted) {
      if (length() > sizeof(buffer_) - sizeof(uint32_t)) return Got::kClosed;
      wanted += length();
      if (held_ == wanted) return Got::kRequest;
    }
    ssize_t got = ::recv(fd_.get(), buffer_ + held_, wanted - held_, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Got::kNothing;
    if (got <= 0) return Got::kClosed;
    held_ += static_cast<uint32_t>(got);
  }
}

void Connection::Answer(const Writer& answer) {
  uint32_t length = static_cast<uint32_t>(answer.size());
  iovec parts[] = {{&length, sizeof(length)}, {const_cast<uint8_t*>(answer.data()), answer.size()}};
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  ssize_t total = static_cast<ssize_t>(sizeof(length) + answer.size());
  // A peer that does not read its answers is not waited for.
  if (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) != total) Close();
}

void Connection::Answer(const Failure& failure) {
  Writer answer;
  failure.Write(&answer);
  Answer(answer);
}

}  // namespace pvecri
