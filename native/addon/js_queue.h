// Work handed from other threads to the JavaScript thread.
#pragma once

#include <napi.h>

#include <functional>

namespace pvecri {

// Whoever posts must have stopped before the queue ends; see ExitWatcher and BackgroundTask for two
// ways to see to that. An end of the queue still delivers what was posted, except when the
// environment itself ends.
class JsQueue {
 public:
  using Job = std::function<void(Napi::Env env, Napi::Function function)>;

  // Whether waiting for posts keeps the process alive.
  enum Life { kLetsEnd, kKeepsAlive };

  // `function` may be empty.
  JsQueue(Napi::Env env, Napi::Function function, const char* name, Life life);
  ~JsQueue();
  JsQueue(const JsQueue&) = delete;
  JsQueue& operator=(const JsQueue&) = delete;

  // From any thread.
  void Post(Job job);

 private:
  static void Deliver(napi_env env, napi_value function, void* context, void* data);

  napi_threadsafe_function handle_ = nullptr;
};

}  // namespace pvecri
