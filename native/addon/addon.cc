// What the addon exports; src/native/binding.ts has the types.
#include <napi.h>

#include "addon/cgroup_moves.h"
#include "addon/cgroup_sweeper.h"
#include "addon/connect_call.h"
#include "addon/descriptor_calls.h"
#include "addon/exit_watcher.h"
#include "addon/interface_calls.h"
#include "addon/lock_file.h"
#include "addon/lxc_calls.h"
#include "addon/mount_calls.h"
#include "addon/namespace_calls.h"
#include "addon/notify_call.h"
#include "addon/process_calls.h"
#include "addon/quota_calls.h"
#include "addon/root_file.h"
#include "addon/seccomp_call.h"
#include "addon/terminal_calls.h"
#include "addon/tree_counter.h"
#include "addon/tree_listing.h"
#include "addon/tree_removal.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  pvecri::ExportProcessCalls(env, exports);
  pvecri::ExportConnectCall(env, exports);
  pvecri::ExportDescriptorCalls(env, exports);
  pvecri::ExportExitWatcher(env, exports);
  pvecri::ExportInterfaceCalls(env, exports);
  pvecri::ExportLockFile(env, exports);
  pvecri::ExportMountCalls(env, exports);
  pvecri::ExportNamespaceCalls(env, exports);
  pvecri::ExportQuotaCalls(env, exports);
  pvecri::ExportRootFile(env, exports);
  pvecri::ExportSeccomp(env, exports);
  pvecri::ExportCgroupMoves(env, exports);
  pvecri::ExportCgroupSweeper(env, exports);
  pvecri::ExportTreeCounter(env, exports);
  pvecri::ExportTreeListing(env, exports);
  pvecri::ExportTreeRemoval(env, exports);
  pvecri::ExportNotify(env, exports);
  pvecri::ExportLxcCalls(env, exports);
  pvecri::ExportTerminalCalls(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(pvecri, Init)
