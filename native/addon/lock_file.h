// lockFile.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportLockFile(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
