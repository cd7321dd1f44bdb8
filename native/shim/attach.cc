// Fan-out of the output, frames of the input, and the time limit of whoever does not read.
#include "shim/attach.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "common/terminal.h"

namespace pvecri {
namespace {

constexpr size_t kHeader = 5;
constexpr uint32_t kMaxFrame = 1 << 20;
// Steps per event: a client that writes without end must not keep the shim from the others.
constexpr int kSteps = 32;

uint64_t Milliseconds() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

void WriteHeader(uint8_t* header, Channel channel, uint32_t size) {
  header[0] = static_cast<uint8_t>(channel);
  memcpy(header + 1, &size, sizeof(size));
}

// Bytes taken, 0 for none now, -1 for a peer that is gone.
ssize_t Send(int fd, const iovec* parts, size_t count) {
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(parts);
  message.msg_iovlen = count;
  ssize_t sent;
  do sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  // ENOBUFS is a lack of memory for the moment.
  if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) return 0;
  return sent;
}

}  // namespace

void Attachments::Watch(int epoll, uint32_t first_source) {
  epoll_ = epoll;
  first_ = first_source;
}

void Attachments::SetPipe(UniqueFd input, bool once) {
  input_ = std::move(input);
  has_input_ = static_cast<bool>(input_);
  once_ = once;
}

void Attachments::SetTerminal(UniqueFd master, bool input) {
  input_ = std::move(master);
  terminal_ = true;
  has_input_ = input;
}

void Attachments::CloseTerminal() {
  if (terminal_) CloseInput();
}

bool Attachments::Admits(bool wants_input, Failure* failure) const {
  if (wants_input && !(has_input_ && input_)) return failure->Set("container stdin", "", ENXIO);
  for (const Client& client : clients_) {
    if (!client.fd) return true;
  }
  return failure->Set("attach", "", EBUSY);
}

void Attachments::Take(UniqueFd connection, bool wants_input) {
  for (Client& client : clients_) {
    if (client.fd) continue;
    client.fd = std::move(connection);
    client.wants_input = wants_input;
    client.behind = false;
    client.events = 0;
    client.header_size = client.begin = client.end = client.left = 0;
    return Rearm(&client);
  }
}

// True while the container has not taken all of its input.
bool Attachments::Holds(const Client& client) {
  return client.begin < client.end && static_cast<Channel>(client.header[0]) == Channel::kStdin;
}

void Attachments::OnEvent(uint32_t source) {
  uint32_t index = source - first_;
  if (index == kMaxClients) {
    WatchInput(false);
    // Whoever still has to wait asks for it again.
    for (Client& client : clients_) {
      if (client.fd && Holds(client)) Read(&client);
    }
    return;
  }
  Client* client = &clients_[index];
  if (client->fd && client->behind) Catch(client);
  if (client->fd && !Holds(*client)) Read(client);
}

void Attachments::Output(Channel channel, const char* data, size_t size) {
  WriteHeader(frame_, channel, static_cast<uint32_t>(size));
  frame_size_ = kHeader + size;
  for (Client& client : clients_) {
    if (!client.fd) continue;
    iovec parts[] = {{frame_, kHeader}, {const_cast<char*>(data), size}};
    ssize_t sent = Send(client.fd.get(), parts, 2);
    if (sent < 0) {
      Leave(&client);
    } else if (static_cast<size_t>(sent) < frame_size_) {
      if (behind_ == 0) {
        memcpy(frame_ + kHeader, data, size);
        deadline_ = Milliseconds() + kStallMs;
      }
      ++behind_;
      client.behind = true;
      client.sent = static_cast<size_t>(sent);
      Rearm(&client);
    }
  }
}

void Attachments::Catch(Client* client) {
  iovec rest = {frame_ + client->sent, frame_size_ - client->sent};
  ssize_t sent = Send(client->fd.get(), &rest, 1);
  if (sent < 0) return Leave(client);
  client->sent += static_cast<size_t>(sent);
  if (client->sent == frame_size_) CaughtUp(client);
}

void Attachments::CaughtUp(Client* client) {
  if (!client->behind) return;
  client->behind = false;
  --behind_;
  if (client->fd) Rearm(client);
}

int Attachments::Timeout() const {
  if (behind_ == 0) return -1;
  uint64_t now = Milliseconds();
  return now < deadline_ ? static_cast<int>(deadline_ - now) : 0;
}

void Attachments::DropLate() {
  if (behind_ == 0 || Milliseconds() < deadline_) return;
  for (Client& client : clients_) {
    if (client.fd && client.behind) Leave(&client);
  }
}

void Attachments::Flush(int milliseconds) {
  uint64_t end = Milliseconds() + static_cast<uint64_t>(milliseconds);
  if (end < deadline_) deadline_ = end;
  while (behind_ > 0) {
    pollfd polled[kMaxClients];
    for (int i = 0; i < kMaxClients; ++i) {
      const Client& client = clients_[i];
      polled[i] = {
          .fd = client.fd && client.behind ? client.fd.get() : -1, .events = POLLOUT, .revents = 0};
    }
    (void)::poll(polled, kMaxClients, Timeout());
    for (int i = 0; i < kMaxClients; ++i) {
      if (polled[i].revents) Catch(&clients_[i]);
    }
    DropLate();
  }
}

void Attachments::End() {
  uint8_t header[kHeader];
  WriteHeader(header, Channel::kEnded, 0);
  iovec part = {header, kHeader};
  for (Client& client : clients_) {
    if (client.fd && !client.behind) (void)Send(client.fd.get(), &part, 1);
    client.fd.reset();
  }
}

void Attachments::Read(Client* client) {
  for (int step = 0; step < kSteps && client->fd; ++step) {
    if (Holds(*client) && !WriteInput(client)) break;
    bool at_header = client->left == 0;
    uint8_t* to = at_header ? client->header + client->header_size : client->bytes + client->end;
    size_t room = at_header ? kHeader - client->header_size : sizeof(client->bytes) - client->end;
    if (!at_header && client->left < room) room = client->left;
    ssize_t got = ::recv(client->fd.get(), to, room, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) return Leave(client);
    if (at_header) {
      client->header_size += static_cast<size_t>(got);
      if (client->header_size == kHeader && !OnHeader(client)) return Leave(client);
      continue;
    }
    client->left -= static_cast<uint32_t>(got);
    client->end += static_cast<size_t>(got);
    if (static_cast<Channel>(client->header[0]) == Channel::kSize) {
      if (client->left == 0) OnSize(client);
    } else if (!WriteInput(client)) {
      break;
    }
  }
  if (client->fd) Rearm(client);
}

bool Attachments::OnHeader(Client* client) {
  client->header_size = 0;
  memcpy(&client->left, client->header + 1, sizeof(client->left));
  switch (static_cast<Channel>(client->header[0])) {
    case Channel::kStdin:
      return client->left <= kMaxFrame;
    case Channel::kSize:
      return client->left == 2 * sizeof(uint16_t);
    case Channel::kStdinEnd:
      if (client->wants_input && once_) CloseInput();
      return client->left == 0;
    default:
      return false;
  }
}

void Attachments::OnSize(Client* client) {
  uint16_t size[2];
  memcpy(size, client->bytes, sizeof(size));
  client->begin = client->end = 0;
  if (terminal_ && input_) (void)SetTerminalSize(input_.get(), size[0], size[1]);
}

bool Attachments::WriteInput(Client* client) {
  while (client->wants_input && input_ && client->begin < client->end) {
    ssize_t put = ::write(input_.get(), client->bytes + client->begin, client->end - client->begin);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) {
      WatchInput(true);
      return false;
    }
    // EPIPE: the payload has closed its stdin, and never will read.
    if (put < 0 && !terminal_) CloseInput();
    if (put < 0) break;
    client->begin += static_cast<size_t>(put);
  }
  client->begin = client->end = 0;
  return true;
}

void Attachments::Leave(Client* client) {
  client->fd.reset();
  CaughtUp(client);
  if (client->wants_input && once_) CloseInput();
}

void Attachments::CloseInput() {
  WatchInput(false);
  input_.reset();
  has_input_ = false;
  // What they hold for it goes nowhere, and no longer keeps them from being read.
  for (Client& client : clients_) {
    if (client.fd && Holds(client)) {
      client.begin = client.end = 0;
      Rearm(&client);
    }
  }
}

void Attachments::Rearm(Client* client) {
  uint32_t events = client->behind ? EPOLLOUT : 0u;
  if (!Holds(*client)) events |= EPOLLIN;
  if (events == client->events) return;
  epoll_event event = {.events = events,
                       .data = {.u32 = first_ + static_cast<uint32_t>(client - clients_)}};
  // Without events it is taken out: a hang-up would be told again and again.
  int operation = client->events == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  client->events = events;
  if (::epoll_ctl(epoll_, operation, client->fd.get(), &event) != 0 && events != 0) Leave(client);
}

void Attachments::WatchInput(bool wanted) {
  if (wanted == watched_ || !input_) return;
  epoll_event event = {.events = EPOLLOUT, .data = {.u32 = first_ + kMaxClients}};
  watched_ = ::epoll_ctl(epoll_, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, input_.get(), &event) == 0
                 ? wanted
                 : false;
}

}  // namespace pvecri
