// Both directions of a terminal, each with one bounded buffer: a side that does not read stops the
// other one from being read.
#include "exec/terminal_relay.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

namespace pvecri {

TerminalRelay::TerminalRelay(int input, int output, UniqueFd master)
    : input_(input), output_(output), master_(std::move(master)) {
  for (int fd : {input_, output_, master_.get()}) {
    (void)::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
}

void TerminalRelay::Arm(pollfd* polled) const {
  polled[0] = {.fd = typed_.empty() ? input_ : -1, .events = POLLIN, .revents = 0};
  short terminal =
      static_cast<short>((shown_.empty() ? POLLIN : 0) | (typed_.empty() ? 0 : POLLOUT));
  polled[1] = {.fd = terminal != 0 ? master_.get() : -1, .events = terminal, .revents = 0};
  polled[2] = {.fd = shown_.empty() ? -1 : output_, .events = POLLOUT, .revents = 0};
}

void TerminalRelay::Serve(const pollfd* polled) {
  // The end of the input is no input: a terminal has no half-close.
  if (polled[0].revents && Fill(input_, &typed_) == Got::kEnd) input_ = -1;
  if (!typed_.empty() && !Empty(master_.get(), &typed_)) typed_.begin = typed_.end = 0;
  if (polled[1].revents) (void)ReadOutput();
  if (!shown_.empty() && !Empty(output_, &shown_)) {
    // The reader left: the command shall not wait for it.
    output_ = -1;
    shown_.begin = shown_.end = 0;
  }
}

bool TerminalRelay::Drained() {
  while (shown_.empty()) {
    if (ReadOutput() != Got::kSome) return true;
  }
  return false;
}

TerminalRelay::Got TerminalRelay::ReadOutput() {
  if (!shown_.empty()) return Got::kSome;
  if (!master_) return Got::kEnd;
  Got got = Fill(master_.get(), &shown_);
  // EIO: nobody has the other side open any more.
  if (got == Got::kEnd) master_.reset();
  if (output_ < 0) shown_.begin = shown_.end = 0;
  return got;
}

TerminalRelay::Got TerminalRelay::Fill(int fd, Buffer* buffer) {
  ssize_t got;
  do got = ::read(fd, buffer->bytes, sizeof(buffer->bytes));
  while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return Got::kNothing;
  if (got <= 0) return Got::kEnd;
  buffer->begin = 0;
  buffer->end = static_cast<size_t>(got);
  return Got::kSome;
}

bool TerminalRelay::Empty(int fd, Buffer* buffer) {
  ssize_t put;
  do put = ::write(fd, buffer->bytes + buffer->begin, buffer->end - buffer->begin);
  while (put < 0 && errno == EINTR);
  if (put < 0) return errno == EAGAIN;
  buffer->begin += static_cast<size_t>(put);
  return true;
}

}  // namespace pvecri
