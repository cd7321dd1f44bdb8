// The addon's threads and system calls without JavaScript, for AddressSanitizer, UndefinedBehavior-
// Sanitizer and LeakSanitizer: memory-check.spec.ts builds and runs it. argv[1] is an empty folder.
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "addon/cgroup_files.h"
#include "addon/exit_poller.h"
#include "addon/idmapped_layers.h"
#include "addon/loopback_connection.h"
#include "addon/namespaces.h"
#include "addon/overlay_mount.h"
#include "addon/project_quota.h"
#include "addon/seccomp_filter.h"
#include "addon/spawn_process.h"
#include "addon/thread.h"

using namespace pvecri;

namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "failed: %s\n", what);
  _exit(1);
}

void RequireSuccess(const Failure& failure) {
  if (!failure) return;
  fprintf(stderr, "failed: %s %s: errno %d %s\n", failure.syscall, failure.path.c_str(),
          failure.error, failure.detail.c_str());
  _exit(1);
}

int OpenDescriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

void SpawnAndWatch() {
  std::atomic<int> reports{0};
  std::atomic<int> wrong{0};
  ExitPoller poller([&](uint64_t slot, const ProcessEnd& end) {
    if (!end.known || end.signal != 0 || end.code != static_cast<int>(slot % 7)) ++wrong;
    ++reports;
  });
  Require(poller.Start() == 0, "start of the poller");
  constexpr int kProcesses = 100;
  int silenced = 0;
  for (int i = 0; i < kProcesses; ++i) {
    SpawnRequest request;
    request.file = "/bin/sh";
    request.argv = {"sh", "-c", "exit " + std::to_string(i % 7)};
    request.env = {"A=" + std::string(1000, 'x')};
    request.fds = {-1, 1, 2, -1, 0};
    request.cwd = "/";
    SpawnedProcess process;
    RequireSuccess(SpawnProcess(request, &process));
    Require(poller.Add(process.pidfd.get(), static_cast<uint64_t>(i)) == 0, "watch");
    if (i % 10 == 9) {
      poller.Silence(static_cast<uint64_t>(i));
      ++silenced;  // or reported just before
    }
    SpawnRequest broken = request;
    broken.file = i % 2 == 0 ? "/no/such/program" : "/etc/passwd";
    Failure failure = SpawnProcess(broken, &process);
    Require(failure.error == (i % 2 == 0 ? ENOENT : EACCES), "errno of a spawn");
  }
  for (int i = 0; i < 1000 && reports < kProcesses - silenced; ++i) usleep(10'000);
  Require(reports >= kProcesses - silenced && wrong == 0, "reports");
  // An end with watches left, and a second one.
  SpawnRequest sleeper;
  sleeper.file = "/bin/sleep";
  sleeper.argv = {"sleep", "0.1"};
  sleeper.fds = {-1, -1, -1};
  SpawnedProcess process;
  RequireSuccess(SpawnProcess(sleeper, &process));
  Require(poller.Add(process.pidfd.get(), 1000) == 0, "watch");
  poller.Stop();
  poller.Stop();
}

void Overlays(const std::string& folder) {
  OverlayRequest request;
  std::string long_part = folder + "/" + std::string(200, 'l');
  mkdir(long_part.c_str(), 0755);
  for (int i = 0; i < 100; ++i) {
    std::string layer = (i % 2 == 0 ? folder : long_part) + "/layer" + std::to_string(i);
    Require(mkdir(layer.c_str(), 0755) == 0, "mkdir");
    Require(mkdir((layer + "/d" + std::to_string(i)).c_str(), 0755) == 0, "mkdir");
    request.lower.push_back(layer);
  }
  for (const char* kind : {"context", "string"}) {
    request.upper = folder + "/upper-" + kind;
    request.work = folder + "/work-" + kind;
    Require(mkdir(request.upper.c_str(), 0755) == 0, "mkdir");
    Require(mkdir(request.work.c_str(), 0755) == 0, "mkdir");
    UniqueFd mount;
    Failure failure = kind[0] == 'c' ? MountOverlayByContext(request, &mount)
                                     : MountOverlayByString(request, &mount);
    RequireSuccess(failure);
    for (int i = 0; i < 100; ++i) {
      std::string name = "d" + std::to_string(i);
      Require(faccessat(mount.get(), name.c_str(), F_OK, 0) == 0, "a layer's folder");
    }
    Require(mkdirat(mount.get(), "new", 0755) == 0, "a new folder");
    Require(access((request.upper + "/new").c_str(), F_OK) == 0, "the upper folder");
  }
  UniqueFd mount;
  request.lower.push_back(folder + "/none");
  Require(MountOverlayByContext(request, &mount).error == ENOENT, "a missing layer");
  Require(MountOverlayByString(request, &mount).error == ENOENT, "a missing layer");
}

// A user namespace in which id 0 is the host's 100000.
UniqueFd MakeUserNamespace() {
  int gate[2];
  Require(pipe2(gate, O_CLOEXEC) == 0, "pipe");
  pid_t child = fork();
  if (child == 0) {
    char byte = unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
    _exit(write(gate[1], &byte, 1) == 1 && pause() != 0 ? 0 : 1);
  }
  UniqueFd read_end(gate[0]);
  UniqueFd write_end(gate[1]);
  char byte = 'n';
  Require(child > 0 && read(gate[0], &byte, 1) == 1 && byte == 'y', "a user namespace");
  std::string proc = "/proc/" + std::to_string(child);
  for (const char* map : {"/uid_map", "/gid_map"}) {
    UniqueFd file(open((proc + map).c_str(), O_WRONLY | O_CLOEXEC));
    constexpr char kMap[] = "0 100000 65536\n";
    Require(write(file.get(), kMap, sizeof(kMap) - 1) > 0, "a map of ids");
  }
  UniqueFd fd(open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  kill(child, SIGKILL);
  Require(waitpid(child, nullptr, 0) == child && fd, "the namespace's file");
  return fd;
}

bool IsKernelAtLeast(int major, int minor) {
  utsname name;
  int found_major = 0;
  int found_minor = 0;
  Require(uname(&name) == 0 && sscanf(name.release, "%d.%d", &found_major, &found_minor) == 2,
          "the kernel's release");
  return found_major > major || (found_major == major && found_minor >= minor);
}

// Every kernel can do it by paths; only new ones by descriptors.
void IdmappedOverlays(const std::string& folder) {
  UniqueFd user_namespace = MakeUserNamespace();
  uid_t uid = 0;
  gid_t gid = 0;
  RequireSuccess(GetMappedOwner(folder, user_namespace.get(), &uid, &gid));
  Require(uid == 100000 && gid == 100000, "the owner in the namespace");
  struct Way {
    const char* name;
    Failure (*mount)(const OverlayRequest&, UniqueFd*);
  };
  for (const Way& way : {Way{"any", MountOverlay}, Way{"paths", MountIdmappedByPaths},
                         Way{"fds", MountIdmappedByFds}}) {
    if (way.mount == MountIdmappedByFds && !IsKernelAtLeast(6, 15)) continue;
    std::string base = folder + "/idmapped_by_" + way.name;
    OverlayRequest request;
    request.user_namespace = user_namespace.get();
    request.upper = base + "/upper";
    request.work = base + "/work";
    for (const std::string& path : {base, request.upper, request.work}) {
      Require(mkdir(path.c_str(), 0755) == 0, "folder");
    }
    for (int i = 0; i < 127; ++i) {
      request.lower.push_back(base + "/lower" + std::to_string(i));
      Require(mkdir(request.lower.back().c_str(), 0755) == 0, "layer");
      Require(mkdir((request.lower.back() + "/d" + std::to_string(i)).c_str(), 0755) == 0, "layer");
    }
    UniqueFd mount;
    RequireSuccess(way.mount(request, &mount));
    for (int i = 0; i < 127; ++i) {
      struct stat status;
      std::string name = "d" + std::to_string(i);
      Require(fstatat(mount.get(), name.c_str(), &status, 0) == 0, "a layer's folder");
      Require(status.st_uid == 100000 && status.st_gid == 100000, "its owner");
    }
    Require(mkdirat(mount.get(), "new", 0755) == 0, "a new folder");
    Require(access((request.upper + "/new").c_str(), F_OK) == 0, "the upper folder");
    request.lower.push_back(base + "/none");
    Require(way.mount(request, &mount).error == ENOENT, "a missing layer");
  }
}

// What every file system answers; quotas themselves take one that has them.
void Quotas(const std::string& folder) {
  QuotaState state;
  RequireSuccess(GetQuotaState(folder, &state));
  uint32_t id = 1;
  RequireSuccess(GetProject(folder, &id));
  Require(GetQuotaState(folder + "/none", &state).error == ENOENT, "a missing folder");
  Require(SetProject("/proc", 1).error != 0, "a project of procfs");
  std::vector<ProjectUsage> usages;
  Require(GetProjectUsage("/proc", {1, 2}, &usages).error != 0, "quotas of procfs");
  Require(ListProjects("/proc", 1, 2, &usages).error != 0, "quotas of procfs");
}

void Namespaces(const std::string& folder) {
  PinRequest request;
  for (std::string* path : {&request.net, &request.ipc, &request.uts}) {
    *path = folder + "/ns" + std::to_string(path - &request.net);
    UniqueFd file(open(path->c_str(), O_CREAT | O_WRONLY, 0600));
    Require(static_cast<bool>(file), "file of a namespace");
  }
  request.hostname = "pod";
  request.sysctls = {{"net.ipv4.ip_forward", "1"}, {"kernel/msgmax", "9000"}};
  auto pin = [](const PinRequest& wanted) {
    Failure failure;
    std::thread thread;
    Require(StartThread(&thread, [&] { failure = PinNamespaces(wanted); }) == 0, "thread");
    thread.join();
    return failure;
  };
  Failure failure = pin(request);
  RequireSuccess(failure);
  for (const std::string& path : {request.net, request.ipc, request.uts}) {
    Require(umount2(path.c_str(), MNT_DETACH) == 0, "unmount");
  }
  // The last of three mounts fails: the first two must go.
  PinRequest half = request;
  half.uts = folder + "/none";
  Require(pin(half).error == ENOENT, "a missing file");
  Require(umount2(half.net.c_str(), MNT_DETACH) < 0 && errno == EINVAL, "undone mount");
  for (const char* key : {"", ".", "net", "net..x", "kernel.core_pattern", "net/../x", "a\nb.c"}) {
    PinRequest bad = request;
    bad.sysctls = {{key, "1"}};
    Require(pin(bad).error == EINVAL, key);
  }
}

void Cgroups(const char* root) {
  CgroupFiles files;
  CgroupFigures figures;
  Require(files.Open("/tmp", false) == EINVAL, "a folder outside");
  Require(files.Open("/none", false) == ENOENT, "no folder");
  std::string path = std::string(root) + "/pvecri-test-harness-" + std::to_string(getpid());
  Require(mkdir(path.c_str(), 0755) == 0, "cgroup");
  Require(files.Open(path, true) == 0, "open cgroup");
  Require(files.Read(&figures) && figures.cpu_usage_micros == 0, "figures");
  Require(files.Read(&figures), "figures again");
  Require(rmdir(path.c_str()) == 0, "rmdir cgroup");
  Require(!files.Read(&figures) && !files.Read(&figures), "a removed cgroup");
}

void Filters() {
  SeccompRules rules;
  rules.default_action = SCMP_ACT_ERRNO(1);
  rules.architectures = {SCMP_ARCH_X86};
  rules.rules.push_back({{"read", "no_such_call", "write"}, SCMP_ACT_ALLOW, {}});
  rules.rules.push_back({{"personality"}, SCMP_ACT_ALLOW, {{0, SCMP_CMP_EQ, 8, 0}}});
  std::vector<uint8_t> program;
  Require(!CompileSeccomp(rules, &program) && program.size() > 80, "filter");
  rules.rules.push_back({{"read"}, SCMP_ACT_ERRNO(5), {{9, 99, 0, 0}}});
  Require(CompileSeccomp(rules, &program).error != 0, "a broken rule");
}

// A server of ours, then a port where nobody listens any more, then a namespace that is none.
void Connections() {
  UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  Require(bind(server.get(), generic, size) == 0 && listen(server.get(), 1) == 0, "listen");
  Require(getsockname(server.get(), generic, &size) == 0, "getsockname");
  uint16_t port = ntohs(address.sin_port);
  UniqueFd client;
  RequireSuccess(ConnectLoopback("", port, 1000, &client));
  Require(client.get() >= 0, "a connection");
  server.reset();
  UniqueFd none;
  Require(ConnectLoopback("", port, 1000, &none).error == ECONNREFUSED, "nobody listens");
  Require(ConnectLoopback("/none", port, 1000, &none).error == ENOENT, "no namespace");
  Require(none.get() < 0, "no connection");
}

}  // namespace

int main(int argc, char** argv) {
  Require(argc == 3, "arguments: FOLDER CGROUP2");
  int before = OpenDescriptors();
  SpawnAndWatch();
  Overlays(argv[1]);
  IdmappedOverlays(argv[1]);
  Quotas(argv[1]);
  Namespaces(argv[1]);
  Cgroups(argv[2]);
  Filters();
  Connections();
  Require(OpenDescriptors() == before, "descriptors");
  puts("clean");
  return 0;
}
