// expectCgroupMoves: takes the wait out of the cgroup.procs writes that are about to come.
//
// A write to cgroup.procs takes cgroup_threadgroup_rwsem. The first writer after a pause waits for
// an RCU grace period, 8 to 12 ms; whoever writes before the next one has passed waits for nothing
// (kernel/rcu/sync.c: GP_EXIT). liblxc writes twice in a start. So a thread here moves the agent
// into the cgroup where it is, which changes nothing, ahead of liblxc, and again until the time is
// over.
#include "addon/cgroup_moves.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <string>

#include "addon/arguments.h"
#include "addon/background_task.h"
#include "addon/errors.h"
#include "addon/thread.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

using Clock = std::chrono::steady_clock;

// Shorter than a grace period.
constexpr auto kPause = std::chrono::milliseconds(3);

enum class State { kIdle, kBegun, kReady };

struct Readiness {
  std::mutex mutex;
  std::condition_variable changed;
  State state = State::kIdle;
  Clock::time_point until;
};

// Lives as long as the process: the thread may outlast the environment.
Readiness& readiness() {
  static Readiness* instance = new Readiness;
  return *instance;
}

UniqueFd OpenOwnProcs(const std::string& root) {
  std::ifstream table("/proc/self/cgroup");
  for (std::string line; std::getline(table, line);) {
    if (!line.starts_with("0::")) continue;
    std::string path = root + line.substr(3) + "/cgroup.procs";
    return UniqueFd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  }
  return UniqueFd();
}

void SetState(State state) {
  std::lock_guard lock(readiness().mutex);
  readiness().state = state;
  readiness().changed.notify_all();
}

// Whether the time is over; then the next one to ask begins anew.
bool IsOver() {
  std::lock_guard lock(readiness().mutex);
  if (Clock::now() < readiness().until) return false;
  readiness().state = State::kIdle;
  return true;
}

// On a thread of its own. Where the write fails, a start takes longer and is right all the same.
void KeepReady(const std::string& root) {
  UniqueFd procs = OpenOwnProcs(root);
  do {
    if (procs) (void)!write(procs.get(), "0", 1);
    SetState(State::kReady);
    std::this_thread::sleep_for(kPause);
  } while (!IsOver());
}

Failure Await() {
  std::unique_lock lock(readiness().mutex);
  readiness().changed.wait(lock, [] { return readiness().state != State::kBegun; });
  return {};
}

Napi::Value Expect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string root = ToPath(info[0], "root");
  auto span = std::chrono::milliseconds(ToInteger(info[1], "milliseconds", 1, 60'000));
  std::unique_lock lock(readiness().mutex);
  readiness().until = std::max(readiness().until, Clock::now() + span);
  if (readiness().state == State::kIdle) {
    std::thread thread;
    if (int error = StartThread(&thread, [root] { KeepReady(root); })) {
      throw SystemError(env, error, "pthread_create");
    }
    thread.detach();
    readiness().state = State::kBegun;
  }
  bool ready = readiness().state == State::kReady;
  lock.unlock();
  if (!ready) {
    return PromiseInBackground(env, "pvecri cgroup moves", Await,
                               [](Napi::Env env) { return env.Undefined(); });
  }
  auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Resolve(env.Undefined());
  return deferred.Promise();
}

}  // namespace

void ExportCgroupMoves(Napi::Env env, Napi::Object exports) {
  exports.Set("expectCgroupMoves", Napi::Function::New<Expect>(env, "expectCgroupMoves"));
}

}  // namespace pvecri
