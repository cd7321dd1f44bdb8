// readFileInRoot.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportRootFile(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
