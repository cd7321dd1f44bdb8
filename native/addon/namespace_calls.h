// pinNamespaces and isNamespace.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportNamespaceCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
