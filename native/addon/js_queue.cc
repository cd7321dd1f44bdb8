// Work handed from other threads to the JavaScript thread.
#include "addon/js_queue.h"

#include <memory>

namespace pvecri {

JsQueue::JsQueue(Napi::Env env, Napi::Function function, const char* name, Life life) {
  napi_value callback = function.IsEmpty() ? nullptr : static_cast<napi_value>(function);
  napi_status status =
      napi_create_threadsafe_function(env, callback, nullptr, Napi::String::New(env, name), 0, 1,
                                      nullptr, nullptr, nullptr, &JsQueue::Deliver, &handle_);
  if (status != napi_ok) throw Napi::Error::New(env);
  if (life == kLetsEnd) napi_unref_threadsafe_function(env, handle_);
}

JsQueue::~JsQueue() {
  if (handle_ != nullptr) napi_release_threadsafe_function(handle_, napi_tsfn_release);
}

void JsQueue::Post(Job job) {
  auto owned = std::make_unique<Job>(std::move(job));
  if (napi_call_threadsafe_function(handle_, owned.get(), napi_tsfn_nonblocking) == napi_ok) {
    (void)owned.release();  // Deliver owns it now
  }
}

void JsQueue::Deliver(napi_env env, napi_value function, void* /*context*/, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(data));
  if (env == nullptr) return;  // the environment ends: nobody can be told
  try {
    Napi::HandleScope scope(env);
    try {
      (*job)(env, Napi::Function(env, function));
    } catch (const Napi::Error& error) {
      // What the callback threw is the program's own bug: an uncaughtException, as for any
      // callback.
      napi_fatal_exception(env, error.Value());
    }
  } catch (const Napi::Error&) {
    // Only a worker that is being terminated refuses even that, and it is past hearing.
  }
}

}  // namespace pvecri
