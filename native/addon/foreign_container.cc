// Containers that are not ours (Proxmox's CTs), through liblxc's command socket.
#include "addon/foreign_container.h"

#include <lxc/lxccontainer.h>
#include <lxc/version.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "addon/thread.h"

namespace pvecri {
namespace {

constexpr std::chrono::seconds kDeadline(5);
// A monitor that hangs keeps its question's thread; this many such threads are the most.
constexpr int kMaxQuestions = 16;
std::atomic<int> open_questions{0};

struct PutContainer {
  void operator()(lxc_container* container) const { lxc_container_put(container); }
};
using ContainerPtr = std::unique_ptr<lxc_container, PutContainer>;

// Shared by who asks and the thread that finds out, because either may outlast the other.
struct Question {
  std::mutex mutex;
  std::condition_variable answered;
  bool done = false;
  Failure failure;
  ForeignState state;
};

ContainerPtr Open(const std::string& lxcpath, const std::string& name) {
  // liblxc would print to the agent's stderr. Its log settings are the process's.
  static std::once_flag once;
  std::call_once(once, [] {
    lxc_log log = {};
    log.name = "pvecri";
    log.file = "none";
    log.level = "ERROR";
    log.prefix = "pvecri";
    log.quiet = true;
    (void)lxc_log_init(&log);
  });
  ContainerPtr container(lxc_container_new(name.c_str(), lxcpath.c_str()));
#if LXC_VERSION_MAJOR >= 6
  if (container) (void)container->set_timeout(container.get(), static_cast<int>(kDeadline.count()));
#endif
  return container;
}

void FindState(lxc_container* container, ForeignState* state) {
  // Without a command socket liblxc itself answers STOPPED.
  const char* text = container->state(container);
  state->state = text == nullptr ? "STOPPED" : text;
  pid_t pid = state->state == "STOPPED" ? -1 : container->init_pid(container);
  state->init_pid = pid > 0 ? pid : 0;
}

Failure Ask(const std::string& lxcpath, const std::string& name,
            std::function<Failure(lxc_container*, ForeignState*)> find, ForeignState* state) {
  if (open_questions.fetch_add(1) >= kMaxQuestions) {
    --open_questions;
    return {EAGAIN, "lxc_container_new", name, "too many containers do not answer"};
  }
  auto question = std::make_shared<Question>();
  std::thread thread;
  int error = StartThread(&thread, [question, lxcpath, name, find = std::move(find)] {
    Failure failure;
    ForeignState state;
    {
      ContainerPtr container = Open(lxcpath, name);
      failure = container ? find(container.get(), &state)
                          : Failure{EIO, "lxc_container_new", name, "its configuration is broken"};
    }
    --open_questions;
    std::lock_guard lock(question->mutex);
    question->failure = std::move(failure);
    question->state = std::move(state);
    question->done = true;
    question->answered.notify_one();
  });
  if (error != 0) {
    --open_questions;
    return {error, "pthread_create", {}, {}};
  }
  thread.detach();
  std::unique_lock lock(question->mutex);
  if (!question->answered.wait_for(lock, kDeadline, [&] { return question->done; })) {
    return {ETIMEDOUT, "lxc_container_new", name, "its monitor does not answer"};
  }
  *state = question->state;
  return question->failure;
}

}  // namespace

Failure QueryForeignState(const std::string& lxcpath, const std::string& name,
                          ForeignState* state) {
  return Ask(
      lxcpath, name,
      [](lxc_container* container, ForeignState* state) -> Failure {
        FindState(container, state);
        return {};
      },
      state);
}

Failure FreezeForeign(const std::string& lxcpath, const std::string& name, bool freeze) {
  ForeignState state;
  return Ask(
      lxcpath, name,
      [freeze, name](lxc_container* container, ForeignState* state) -> Failure {
        const char* call = freeze ? "lxc_freeze" : "lxc_unfreeze";
        FindState(container, state);
        if (state->state == "STOPPED") return {ESRCH, call, name, "the container does not run"};
        bool done = freeze ? container->freeze(container) : container->unfreeze(container);
        if (!done) return {EIO, call, name, "liblxc could not do it"};
        return {};
      },
      &state);
}

}  // namespace pvecri
