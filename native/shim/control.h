// The shim's control socket: length-prefixed requests from the agent, one answer each.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/failure.h"
#include "common/unique_fd.h"
#include "common/wire.h"

namespace pvecri {

constexpr char kControlSocket[] = "shim.sock";

// Binds the socket in the working directory: its name stays short however deep the folder lies.
UniqueFd ListenForControl(Failure* failure);
// Takes a connection, of uid 0 only; empty when there is none or it was refused.
UniqueFd AcceptControl(int listener);

class Connection {
 public:
  enum class Got { kRequest, kNothing, kClosed };

  bool open() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  void Take(UniqueFd fd);
  void Close() { fd_.reset(); }
  UniqueFd Release() { return std::move(fd_); }
  // Reads on; kRequest when request() is whole. kClosed at the end and for anything malformed.
  Got Read();
  Reader request() const { return Reader(buffer_ + sizeof(uint32_t), length()); }
  // Frees the room for the next request.
  void Done() { held_ = 0; }
  void Answer(const Writer& answer);
  void Answer(const Failure& failure);

 private:
  uint32_t length() const;

  UniqueFd fd_;
  uint32_t held_ = 0;
  uint8_t buffer_[256];  // the longest request is a resize
};

}  // namespace pvecri
