// Resource limits: the last resort, should a library be talked into taking more than it needs.
#include "unpack/resource_limits.h"

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>

namespace pvecri {
namespace {

// The largest window of zstd or dictionary of xz takes 128 MiB; stacks, libraries and what malloc
// sets aside take less than another 256.
constexpr rlim_t kAddressSpace = 768 << 20;
// 64 cached folders, and some.
constexpr rlim_t kDescriptors = 256;

Result Limit(__rlimit_resource resource, rlim_t most) {
  rlimit limit;
  if (::getrlimit(resource, &limit) != 0) return SystemFailure("getrlimit");
  most = std::min(most, limit.rlim_max);
  limit = {most, most};
  return ::setrlimit(resource, &limit) == 0 ? Result() : SystemFailure("setrlimit");
}

}  // namespace

Result LimitResources(const Limits& limits) {
  // Each further arena sets 64 MiB of addresses aside.
  (void)::mallopt(M_ARENA_MAX, 2);
  // A file that gets too large is an error to report, no reason to end.
  (void)::signal(SIGXFSZ, SIG_IGN);
  if (Result failure = Limit(RLIMIT_CORE, 0)) return failure;
  if (Result failure = Limit(RLIMIT_NOFILE, kDescriptors)) return failure;
  if (Result failure = Limit(RLIMIT_FSIZE, limits.max_bytes)) return failure;
#ifndef __SANITIZE_ADDRESS__
  if (Result failure = Limit(RLIMIT_AS, kAddressSpace)) return failure;
#endif
  return {};
}

}  // namespace pvecri
