// pvecri-shim: keeps one container. Started by the agent, outlives it, ends with the container.
//
// Descriptors: 0 /dev/null, 1 and 2 its log, 3 the detached mount of the root file system, 4 the
// container's description, 5 a pipe for the outcome of the creation, 6 the held init's executable;
// from 7 on the detached mounts that the description names by these numbers.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "common/process.h"
#include "common/syscalls.h"
#include "shim/supervisor.h"

namespace pvecri {
namespace {

constexpr int kRootfs = 3;
constexpr int kSpec = 4;
constexpr int kReady = 5;
constexpr int kInit = 6;

void AvoidOomKiller() {
  UniqueFd file(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  // Refused without CAP_SYS_RESOURCE; the shim then keeps what the agent has.
  if (file) (void)!::write(file.get(), "-999", 4);
}

int Main() {
  ResetSignals();
  ::setsid();
  // Started with exactly the descriptors that are its own.
  CloseRange(kRootfs, ~0u, CLOSE_RANGE_CLOEXEC);
  AvoidOomKiller();
  UniqueFd ready(kReady), rootfs(kRootfs), init(kInit), spec_file(kSpec);
  static ShimSpec spec;
  Failure failure;
  if (!ReadSpec(spec_file.get(), &spec, &failure)) {
    Writer answer;
    failure.Write(&answer);
    (void)!::write(ready.get(), answer.data(), answer.size());
    return EXIT_FAILURE;
  }
  static Supervisor supervisor(spec, std::move(ready));
  return supervisor.Run(std::move(rootfs), std::move(init), std::move(spec_file));
}

}  // namespace
}  // namespace pvecri

int main() { return pvecri::Main(); }
