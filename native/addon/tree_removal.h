// removeTree of the addon.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportTreeRemoval(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
