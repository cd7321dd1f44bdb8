// The clients attached to the container: they get its output from now on and may write its stdin.
//
// What the payload writes is held for a client that is behind, and the payload is not read on until
// every client has it; a client that is still behind after kStallMs is dropped. So none loses a
// byte unnoticed, none holds the payload for good, and all together hold one chunk of memory.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/failure.h"
#include "common/unique_fd.h"
#include "common/wire.h"

namespace pvecri {

class Attachments {
 public:
  static constexpr int kMaxClients = 8;
  // Clients, and one more for the container's stdin.
  static constexpr uint32_t kSources = kMaxClients + 1;
  static constexpr size_t kMaxOutput = 32 * 1024;
  static constexpr int kStallMs = 5000;

  // `epoll` tells the events of the sources from `first_source` on to OnEvent.
  void Watch(int epoll, uint32_t first_source);
  // The container's stdin; closed when the first client that wrote it leaves, if `once`.
  void SetPipe(UniqueFd input, bool once);
  // The master of its terminal, which takes sizes, and input when `input`.
  void SetTerminal(UniqueFd master, bool input);
  // The payload has closed its terminal: what it opens later is not read.
  void CloseTerminal();

  // False when another client can't be taken, with the reason.
  bool Admits(bool wants_input, Failure* failure) const;
  void Take(UniqueFd connection, bool wants_input);
  void OnEvent(uint32_t source);
  // At most kMaxOutput bytes, and only while not blocked.
  void Output(Channel channel, const char* data, size_t size);
  bool blocked() const { return behind_ > 0; }
  // Until the next client is late, for epoll_wait; -1 for never.
  int Timeout() const;
  void DropLate();
  // Waits for the clients that are behind, at most so long, and drops the rest of them.
  void Flush(int milliseconds);
  // The container has ended: tells and closes.
  void End();

 private:
  struct Client {
    UniqueFd fd;
    bool wants_input = false;
    bool behind = false;
    size_t sent = 0;  // of frame_, while behind
    uint32_t events = 0;
    // The frame that is being read: its header, then what of it is not yet read or taken.
    uint8_t header[5];
    size_t header_size = 0;
    uint32_t left = 0;
    size_t begin = 0;
    size_t end = 0;
    uint8_t bytes[4096];
  };

  static bool Holds(const Client& client);
  void Read(Client* client);
  // False when it is no frame of ours.
  bool OnHeader(Client* client);
  void OnSize(Client* client);
  // False while the container does not take it.
  bool WriteInput(Client* client);
  void Catch(Client* client);
  void CaughtUp(Client* client);
  void Leave(Client* client);
  void CloseInput();
  void Rearm(Client* client);
  void WatchInput(bool wanted);

  int epoll_ = -1;
  uint32_t first_ = 0;
  UniqueFd input_;  // a terminal's master too
  bool has_input_ = false;
  bool terminal_ = false;
  bool once_ = false;
  bool watched_ = false;
  int behind_ = 0;
  uint64_t deadline_ = 0;
  size_t frame_size_ = 0;
  Client clients_[kMaxClients];
  uint8_t frame_[5 + kMaxOutput];
};

}  // namespace pvecri
