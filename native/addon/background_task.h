// Work on a thread of its own that settles a promise.
#pragma once

#include <napi.h>

#include <functional>

#include "addon/errors.h"

namespace pvecri {

// Runs `work` on a new thread and then `done` on the JavaScript thread; keeps the process alive
// until then. When the environment ends first, `done` never runs and nobody waits for `work`: so
// `work` must own everything it touches. Returns 0 or an errno, in which case neither runs.
int RunInBackground(Napi::Env env, const char* name, std::function<void()> work,
                    std::function<void(Napi::Env)> done);

// The same for a promise: rejected with what `work` returns, or resolved with `value`.
Napi::Value PromiseInBackground(Napi::Env env, const char* name, std::function<Failure()> work,
                                std::function<Napi::Value(Napi::Env)> value);

}  // namespace pvecri
