// notify.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportNotify(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
