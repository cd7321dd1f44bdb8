// A thread with a mount namespace of its own.
#include "addon/private_namespace.h"

#include <sched.h>
#include <sys/mount.h>

#include <cerrno>

#include "addon/thread.h"

namespace pvecri {

Failure InPrivateNamespace(const std::function<Failure()>& work) {
  Failure failure;
  std::thread thread;
  int error = StartThread(&thread, [&] {
    if (unshare(CLONE_FS | CLONE_NEWNS) < 0) {
      failure = {errno, "unshare", {}, {}};
    } else if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) {
      failure = {errno, "mount", "/", {}};
    } else {
      failure = work();
    }
  });
  if (error != 0) return {error, "pthread_create", {}, {}};
  thread.join();
  return failure;
}

}  // namespace pvecri
