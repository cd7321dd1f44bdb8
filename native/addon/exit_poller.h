// One epoll thread that tells when processes end, and reaps those that are our children.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/unique_fd.h"

namespace pvecri {

// How a process ended. Unknown for one that is not our child.
struct ProcessEnd {
  bool known = false;
  int code = 0;
  int signal = 0;  // 0 when it exited with `code`
};

class ExitPoller {
 public:
  // Called on the poller's thread, once per slot.
  using Report = std::function<void(uint64_t slot, const ProcessEnd& end)>;

  explicit ExitPoller(Report report) : report_(std::move(report)) {}
  ~ExitPoller() { Stop(); }
  ExitPoller(const ExitPoller&) = delete;
  ExitPoller& operator=(const ExitPoller&) = delete;

  // Returns 0 or an errno.
  int Start();
  // Idempotent; nothing is reported after it returned.
  void Stop();
  // Duplicates the descriptor. Returns 0 or an errno; EBADF for what is not a pidfd.
  int Add(int pidfd, uint64_t slot);
  // Reports nothing more for the slot. A child of ours stays watched, so that it is still reaped.
  void Silence(uint64_t slot);

 private:
  struct Watch {
    UniqueFd pidfd;
    bool is_child = false;
    bool silent = false;
  };

  void Run();
  // False when the process has ended but cannot be reaped yet.
  bool Finish(uint64_t slot);

  Report report_;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::thread thread_;
  std::mutex mutex_;  // guards watches_
  std::unordered_map<uint64_t, Watch> watches_;
};

}  // namespace pvecri
