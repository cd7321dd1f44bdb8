// Work on a thread of its own that settles a promise.
#include "addon/background_task.h"

#include <memory>
#include <mutex>
#include <thread>

#include "addon/js_queue.h"
#include "addon/thread.h"

namespace pvecri {
namespace {

// Between the thread and the environment, either of which may end first.
class Task : public std::enable_shared_from_this<Task> {
 public:
  explicit Task(std::function<void(Napi::Env)> done) : done_(std::move(done)) {}

  int Start(Napi::Env env, const char* name, std::function<void()> work) {
    queue_ = std::make_unique<JsQueue>(env, Napi::Function(), name, JsQueue::kKeepsAlive);
    // After the queue was made, so that it runs before the queue ends (last in, first out).
    napi_add_env_cleanup_hook(env, &Task::OnEnvEnd, this);
    self_ = shared_from_this();
    std::thread thread;
    int error = StartThread(&thread, [task = self_, work = std::move(work)] {
      work();
      task->Finish();
    });
    if (error != 0) {
      Detach(env);
      return error;
    }
    thread.detach();
    return 0;
  }

 private:
  static void OnEnvEnd(void* task) {
    // Keeps the task until the lock is free again.
    std::shared_ptr<Task> self = std::move(static_cast<Task*>(task)->self_);
    std::lock_guard lock(self->mutex_);
    self->queue_.reset();
  }

  // On the task's thread.
  void Finish() {
    std::lock_guard lock(mutex_);
    if (!queue_) return;  // the environment is gone
    queue_->Post([task = shared_from_this()](Napi::Env env, Napi::Function) {
      task->Detach(env);
      task->done_(env);
    });
  }

  // On the JavaScript thread.
  void Detach(Napi::Env env) {
    napi_remove_env_cleanup_hook(env, &Task::OnEnvEnd, this);
    std::lock_guard lock(mutex_);
    queue_.reset();
    self_.reset();  // the caller holds another
  }

  std::function<void(Napi::Env)> done_;
  std::shared_ptr<Task> self_;  // the environment's share
  std::mutex mutex_;            // guards queue_
  std::unique_ptr<JsQueue> queue_;
};

}  // namespace

int RunInBackground(Napi::Env env, const char* name, std::function<void()> work,
                    std::function<void(Napi::Env)> done) {
  return std::make_shared<Task>(std::move(done))->Start(env, name, std::move(work));
}

Napi::Value PromiseInBackground(Napi::Env env, const char* name, std::function<Failure()> work,
                                std::function<Napi::Value(Napi::Env)> value) {
  auto deferred = Napi::Promise::Deferred::New(env);
  auto failure = std::make_shared<Failure>();
  int error = RunInBackground(
      env, name, [failure, work = std::move(work)] { *failure = work(); },
      [failure, deferred, value = std::move(value)](Napi::Env env) {
        if (*failure) {
          deferred.Reject(SystemError(env, *failure).Value());
        } else {
          deferred.Resolve(value(env));
        }
      });
  if (error != 0) deferred.Reject(SystemError(env, error, "pthread_create").Value());
  return deferred.Promise();
}

}  // namespace pvecri
