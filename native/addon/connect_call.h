// connectLoopback.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportConnectCall(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
