// The ExitWatcher class of the addon.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportExitWatcher(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
