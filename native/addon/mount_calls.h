// mountOverlay, mappedOwner, mountSharedMemory, isMountPoint and unmount.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportMountCalls(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
