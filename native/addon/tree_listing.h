// treeListing of the addon.
#pragma once

#include <napi.h>

namespace pvecri {

void ExportTreeListing(Napi::Env env, Napi::Object exports);

}  // namespace pvecri
