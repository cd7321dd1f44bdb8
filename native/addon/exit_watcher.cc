// The ExitWatcher class of the addon: an ExitPoller whose reports reach a JavaScript function.
#include "addon/exit_watcher.h"

#include <memory>
#include <unordered_map>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "addon/exit_poller.h"
#include "addon/js_queue.h"

namespace pvecri {
namespace {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

// The tokens somebody still waits for. Lives on the JavaScript thread, and longer than the watcher
// when reports are still queued at its end.
struct LiveTokens {
  std::unordered_map<int64_t, uint64_t> slot_of;
  std::unordered_map<uint64_t, int64_t> token_of;
};

Napi::Value StatusOf(Napi::Env env, const ProcessEnd& end) {
  if (!end.known) return env.Null();
  Napi::Object status = Napi::Object::New(env);
  bool exited = end.signal == 0;
  status.Set("code", exited ? Napi::Value(Napi::Number::New(env, end.code)) : env.Null());
  status.Set("signal", exited ? env.Null() : Napi::Value(Napi::Number::New(env, end.signal)));
  return status;
}

class ExitWatcher : public Napi::ObjectWrap<ExitWatcher> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "ExitWatcher",
        {InstanceMethod<&ExitWatcher::Add>("add"), InstanceMethod<&ExitWatcher::Remove>("remove"),
         InstanceMethod<&ExitWatcher::CloseCall>("close")});
  }

  explicit ExitWatcher(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ExitWatcher>(info) {
    Napi::Env env = info.Env();
    Napi::Function on_exit = ToFunction(info[0], "onExit");
    queue_ = std::make_unique<JsQueue>(env, on_exit, "pvecri exit watcher", JsQueue::kLetsEnd);
    poller_ = std::make_unique<ExitPoller>([this](uint64_t slot, const ProcessEnd& end) {
      queue_->Post([live = live_, slot, end](Napi::Env env, Napi::Function on_exit) {
        auto found = live->token_of.find(slot);
        if (found == live->token_of.end()) return;
        int64_t token = found->second;
        live->token_of.erase(found);
        live->slot_of.erase(token);
        on_exit.Call({Napi::Number::New(env, static_cast<double>(token)), StatusOf(env, end)});
      });
    });
    if (int error = poller_->Start()) {
      Close();
      throw SystemError(env, error, "pthread_create");
    }
    // Runs before the queue's own end, because hooks run last in, first out: the thread is joined
    // while what it posts to still exists.
    napi_add_env_cleanup_hook(env, &ExitWatcher::OnEnvEnd, this);
    hooked_ = true;
  }

  ~ExitWatcher() override {
    if (hooked_) napi_remove_env_cleanup_hook(Env(), &ExitWatcher::OnEnvEnd, this);
    Close();
  }

 private:
  static void OnEnvEnd(void* watcher) {
    static_cast<ExitWatcher*>(watcher)->hooked_ = false;
    static_cast<ExitWatcher*>(watcher)->Close();
  }

  void Add(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    int pidfd = ToFd(info[0], "pidfd");
    int64_t token = ToInteger(info[1], "token", 0, kMaxSafeInteger);
    if (!poller_) throw Napi::TypeError::New(env, "the exit watcher is closed");
    if (live_->slot_of.contains(token)) throw Napi::TypeError::New(env, "token is in use");
    uint64_t slot = next_slot_++;
    live_->slot_of.emplace(token, slot);
    live_->token_of.emplace(slot, token);
    if (int error = poller_->Add(pidfd, slot)) {
      live_->slot_of.erase(token);
      live_->token_of.erase(slot);
      throw SystemError(env, error, "epoll_ctl");
    }
  }

  void Remove(const Napi::CallbackInfo& info) {
    int64_t token = ToInteger(info[0], "token", 0, kMaxSafeInteger);
    auto found = live_->slot_of.find(token);
    if (found == live_->slot_of.end()) return;
    if (poller_) poller_->Silence(found->second);
    live_->token_of.erase(found->second);
    live_->slot_of.erase(found);
  }

  void CloseCall(const Napi::CallbackInfo&) { Close(); }

  void Close() {
    live_->slot_of.clear();
    live_->token_of.clear();
    poller_.reset();  // joins: nothing is posted from here on
    queue_.reset();
  }

  std::shared_ptr<LiveTokens> live_ = std::make_shared<LiveTokens>();
  std::unique_ptr<JsQueue> queue_;
  std::unique_ptr<ExitPoller> poller_;
  uint64_t next_slot_ = 0;
  bool hooked_ = false;
};

}  // namespace

void ExportExitWatcher(Napi::Env env, Napi::Object exports) {
  exports.Set("ExitWatcher", ExitWatcher::Define(env));
}

}  // namespace pvecri
