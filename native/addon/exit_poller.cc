// One epoll thread that tells when processes end.
#include "addon/exit_poller.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "addon/thread.h"

namespace pvecri {
namespace {

constexpr uint64_t kWakeSlot = ~uint64_t{0};
// A traced child belongs to its tracer until that has waited for it: ask again after this.
constexpr int kRetryMs = 10;

int Wait(int pidfd, siginfo_t* info, int options) {
  info->si_pid = 0;
  int result;
  do {
    result = waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), info, options);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

}  // namespace

int ExitPoller::Start() {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return errno;
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return errno;
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kWakeSlot;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) < 0) return errno;
  return StartThread(&thread_, [this] { Run(); });
}

void ExitPoller::Stop() {
  if (thread_.joinable()) {
    uint64_t one = 1;
    // Cannot fail: the counter never comes near its limit.
    (void)!write(wake_.get(), &one, sizeof(one));
    thread_.join();
  }
  std::lock_guard lock(mutex_);
  watches_.clear();
  epoll_.reset();
  wake_.reset();
}

int ExitPoller::Add(int pidfd, uint64_t slot) {
  siginfo_t info;
  int error = Wait(pidfd, &info, WEXITED | WNOHANG | WNOWAIT);
  if (error != 0 && error != ECHILD) return error == EINVAL ? EBADF : error;
  Watch watch;
  watch.is_child = error == 0;
  watch.pidfd.reset(fcntl(pidfd, F_DUPFD_CLOEXEC, 3));
  if (!watch.pidfd) return errno;
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = slot;
  std::lock_guard lock(mutex_);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watch.pidfd.get(), &event) < 0) return errno;
  watches_.emplace(slot, std::move(watch));
  return 0;
}

void ExitPoller::Silence(uint64_t slot) {
  std::lock_guard lock(mutex_);
  auto found = watches_.find(slot);
  if (found == watches_.end()) return;
  if (found->second.is_child) {
    found->second.silent = true;
  } else {
    // Closing the last descriptor of the duplicate would not do: the caller's shares its
    // description.
    (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.pidfd.get(), nullptr);
    watches_.erase(found);
  }
}

bool ExitPoller::Finish(uint64_t slot) {
  ProcessEnd end;
  bool silent;
  {
    std::lock_guard lock(mutex_);
    auto found = watches_.find(slot);
    if (found == watches_.end()) return true;
    siginfo_t info;
    int error = Wait(found->second.pidfd.get(), &info, WEXITED | WNOHANG);
    if (error == 0 && info.si_pid == 0) return false;
    if (error == 0) {
      end.known = true;
      if (info.si_code == CLD_EXITED) {
        end.code = info.si_status;
      } else {
        end.signal = info.si_status;
      }
    }
    silent = found->second.silent;
    (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.pidfd.get(), nullptr);
    watches_.erase(found);
  }
  if (!silent) report_(slot, end);
  return true;
}

void ExitPoller::Run() {
  std::vector<uint64_t> unfinished;
  epoll_event events[64];
  for (;;) {
    int count = epoll_wait(epoll_.get(), events, 64, unfinished.empty() ? -1 : kRetryMs);
    if (count < 0) continue;  // EINTR alone is possible: the descriptor is ours
    std::erase_if(unfinished, [this](uint64_t slot) { return Finish(slot); });
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == kWakeSlot) return;
      if (!Finish(events[i].data.u64)) unfinished.push_back(events[i].data.u64);
    }
  }
}

}  // namespace pvecri
