// makeTerminalRaw and setTerminal.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportTerminalCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
