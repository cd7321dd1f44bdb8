// The held init: the container's first process. Builds what liblxc leaves to us, waits at the gate,
// then becomes the payload.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd_passing.h"
#include "common/gate.h"
#include "common/null_device.h"
#include "common/process.h"
#include "common/syscalls.h"
#include "common/terminal.h"
#include "init/set_up.h"

namespace pvecri {
namespace {

constexpr int kNeverRan = 137;
constexpr int kCannotRun = 127;

struct Container {
  const void* spec = nullptr;
  size_t spec_size = 0;
  int* mounts = nullptr;
  size_t mount_count = 0;
  size_t mount_room = 0;
};

bool MapSpec(int fd, Container* container) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return false;
  container->spec_size = static_cast<size_t>(status.st_size);
  void* map = ::mmap(nullptr, container->spec_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (map == MAP_FAILED) return false;
  container->spec = map;
  return true;
}

bool KeepMounts(const Message& message, Container* container) {
  size_t needed = container->mount_count + message.fd_count;
  if (needed > container->mount_room) {
    auto* grown = static_cast<int*>(realloc(container->mounts, needed * sizeof(int)));
    if (!grown) return false;
    container->mounts = grown;
    container->mount_room = needed;
  }
  for (int i = 0; i < message.fd_count; ++i) {
    container->mounts[container->mount_count++] = message.fds[i];
  }
  return true;
}

// Collects what the shim sends, up to "set up" or "run". Exits when the gate closes.
char Collect(Message* message, Container* container, Failure* failure) {
  for (;;) {
    if (!ReceiveMessage(kGateFd, message)) ::_exit(kNeverRan);
    if (message->size < 1) ::_exit(kNeverRan);
    char kind = message->body[0];
    if (kind == kGateSetUp || kind == kGateRun) return kind;
    bool kept = true;
    if (kind == kGateSpec && message->fd_count == 1) {
      kept = MapSpec(message->fds[0], container);
      ::close(message->fds[0]);
    } else if (kind == kGateMounts) {
      kept = KeepMounts(*message, container);
    }
    if (!kept) failure->Set("set-up", "spec");
  }
}

[[noreturn]] void ReportSetUpFailure(const Failure& failure) {
  Writer writer;
  failure.Write(&writer);
  char body[1 + 1024];
  body[0] = kGateFailed;
  memcpy(body + 1, writer.data(), writer.size());
  (void)SendMessage(kGateFd, body, 1 + writer.size(), nullptr, 0);
  ::_exit(kNeverRan);
}

bool FindProcess(const Container& container, Process* process, Failure* failure) {
  Field field;
  for (Reader reader(container.spec, container.spec_size); reader.Next(&field);) {
    if (field.tag == Tag::kProcess) return ParseProcess(field, process, failure);
  }
  return failure->Set("spec", "process", EINVAL);
}

// Takes the payload's stdio and the error pipe; returns the pipe, close-on-exec like all the rest.
int TakeStdio(const Message& message, int terminal) {
  int stdio[3] = {terminal, terminal, terminal};
  int errors = message.fds[message.fd_count - 1];
  UniqueFd null = OpenNullDevice();
  if (message.fd_count == 4) memcpy(stdio, message.fds, sizeof(stdio));
  if (message.fd_count == 3) {
    stdio[0] = null.get();
    memcpy(stdio + 1, message.fds, 2 * sizeof(int));
  }
  // Received descriptors are above 2: liblxc's own stdio still fills these.
  for (int fd = 0; fd <= 2; ++fd) {
    if (::dup2(stdio[fd], fd) < 0) ::_exit(kNeverRan);
  }
  if (CloseRange(3, ~0u, CLOSE_RANGE_CLOEXEC) != 0) ::_exit(kNeverRan);
  return errors;
}

[[noreturn]] void Run() {
  (void)::prctl(PR_SET_NAME, "pvecri-init", 0, 0, 0);
  // Nobody in a shared PID namespace shall look into this process while it has host descriptors.
  (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  static Message message;
  static Container container;
  Failure failure;
  Process process;
  UniqueFd master, slave;
  if (Collect(&message, &container, &failure) != kGateSetUp) ::_exit(kNeverRan);
  if (failure.error != 0 || !container.spec ||
      !SetUpContainer(container.spec, container.spec_size, container.mounts, container.mount_count,
                      &failure) ||
      !FindProcess(container, &process, &failure) ||
      (process.tty &&
       (!OpenTerminal(&master, &slave, &failure) || !MakeConsole(slave.get(), &failure)))) {
    ReportSetUpFailure(failure);
  }
  for (size_t i = 0; i < container.mount_count; ++i) ::close(container.mounts[i]);
  int master_fd = master.get();
  if (!SendMessage(kGateFd, &kGateReady, 1, &master_fd, process.tty ? 1 : 0)) ::_exit(kNeverRan);
  master.reset();

  if (Collect(&message, &container, &failure) != kGateRun || message.fd_count < 1) {
    ::_exit(kNeverRan);
  }
  int errors = TakeStdio(message, slave.get());
  BecomePayload(process, kGateFd, &failure);
  Writer writer;
  failure.Write(&writer);
  (void)!::write(errors, writer.data(), writer.size());
  ::_exit(kCannotRun);
}

}  // namespace
}  // namespace pvecri

int main() { pvecri::Run(); }
