// The TreeCounter class of the addon.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportTreeCounter(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
