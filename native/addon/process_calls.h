// spawn, pidfdOpen and pidfdSignal.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportProcessCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
