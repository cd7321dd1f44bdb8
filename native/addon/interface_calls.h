// interfaceCounters.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportInterfaceCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
