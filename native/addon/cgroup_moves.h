// Makes ready for moves of processes between cgroups.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportCgroupMoves(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
