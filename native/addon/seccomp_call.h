// compileSeccomp.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportSeccomp(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
