// Copies between the agent's pipes and the terminal of a command.
#pragma once

#include <poll.h>
#include <stddef.h>

#include "common/unique_fd.h"

namespace pvecri {

class TerminalRelay {
 public:
  static constexpr int kPolled = 3;

  // `input` and `output` are the helper's ends of the agent's pipes; all three become non-blocking.
  TerminalRelay(int input, int output, UniqueFd master);
  // What to wait for now. A side that is not wanted is left out, hang-ups included: they would be
  // told again and again.
  void Arm(pollfd* polled) const;
  // Moves what can be moved without waiting.
  void Serve(const pollfd* polled);
  // Once the command has ended: true when the terminal holds no more of its output.
  bool Drained();
  int master() const { return master_.get(); }

 private:
  struct Buffer {
    char bytes[16 * 1024];
    size_t begin = 0;
    size_t end = 0;
    bool empty() const { return begin == end; }
  };
  enum class Got { kSome, kNothing, kEnd };

  static Got Fill(int fd, Buffer* buffer);
  // False when nobody will ever take it.
  static bool Empty(int fd, Buffer* buffer);
  Got ReadOutput();

  int input_;
  int output_;
  UniqueFd master_;
  Buffer typed_;
  Buffer shown_;
};

}  // namespace pvecri
