// lxcVersion, lxcState and lxcFreeze.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportLxcCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
