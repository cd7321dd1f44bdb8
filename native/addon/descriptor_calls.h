// pipe, memfd and peerCredentials.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportDescriptorCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
