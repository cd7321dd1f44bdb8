// The CgroupSweeper class of the addon.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportCgroupSweeper(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
