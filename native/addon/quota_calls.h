// quotaState, projectOf, setProject, setProjectLimit, projectUsages and listProjects.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportQuotaCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
