// Identity, privileges, filter and execve of a payload; shared by the held init and the exec
// helper.
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/syscalls.h"
#include "common/unique_fd.h"

namespace pvecri {
namespace {

constexpr uint32_t kMaxSeccompSize = 4096 * sizeof(sock_filter);  // BPF_MAXINSNS

// Writes one of our own files in procfs. The mount is checked to be procfs and the file to lie
// right on it, so that nothing an image or a sibling mounted over it can swallow the write
// (CVE-2025-52881).
bool WriteOwnProcFile(const char* name, const char* text) {
  UniqueFd proc(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct statfs filesystem;
  if (!proc || ::fstatfs(proc.get(), &filesystem) != 0) return false;
  if (filesystem.f_type != PROC_SUPER_MAGIC) {
    errno = EXDEV;
    return false;
  }
  char path[64];
  snprintf(path, sizeof(path), "%d/%s", ::getpid(), name);
  UniqueFd file(OpenAt2(proc.get(), path, O_WRONLY,
                        RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS));
  if (!file) return false;
  ssize_t length = static_cast<ssize_t>(strlen(text));
  return ::write(file.get(), text, length) == length;
}

// /dev/stdout and its like reopen the pipe or the pty by its inode, which must let the payload's
// user in. The null device stays as it is.
void OwnStdio(uid_t uid, bool tty) {
  for (int fd = 0; fd <= 2; ++fd) {
    struct stat status;
    if (::fstat(fd, &status) == 0 && (tty || S_ISFIFO(status.st_mode))) {
      (void)!::fchown(fd, uid, static_cast<gid_t>(-1));
    }
  }
}

bool SetCapabilities(uint64_t set, uint64_t inheritable) {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    data[half].permitted = data[half].effective = static_cast<uint32_t>(set >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(inheritable >> (32 * half));
  }
  return ::syscall(SYS_capset, &header, data) == 0;
}

// What survives the execve of an ordinary program by another user than root (capabilities(7)).
bool RaiseAmbient(uint64_t set) {
  for (int capability = 0; capability < 64; ++capability) {
    if ((set >> capability & 1) != 0 &&
        ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      return false;
    }
  }
  return true;
}

uint64_t PermittedCapabilities() {
  __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return 0;
  return data[0].permitted | static_cast<uint64_t>(data[1].permitted) << 32;
}

bool DropBoundingSet(uint64_t keep) {
  for (int capability = 0; capability < 64; ++capability) {
    int present = ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (present < 0) return true;  // beyond the kernel's last one
    if (present == 1 && (keep >> capability & 1) == 0 &&
        ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      return false;
    }
  }
  return true;
}

bool LoadSeccomp(const Process& process) {
  if (process.seccomp == nullptr) return true;
  sock_fprog program = {
      .len = static_cast<unsigned short>(process.seccomp_size / sizeof(sock_filter)),
      .filter = reinterpret_cast<sock_filter*>(const_cast<uint8_t*>(process.seccomp)),
  };
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, process.seccomp_flags, &program) == 0;
}

// The working directory must lie below the root: a descriptor that leads outside shows as
// "(unreachable)..." (CVE-2024-21626).
bool EnterCwd(const char* cwd) {
  if (::chdir(cwd) != 0) return false;
  char real[4096];
  long length = ::syscall(SYS_getcwd, real, sizeof(real));
  if (length < 0) return false;
  if (real[0] == '/') return true;
  errno = EXDEV;
  return false;
}

// execvpe with the payload's own PATH, and without its fallback to a shell on ENOEXEC.
void Execute(const Process& process) {
  const char* name = process.argv[0];
  if (strchr(name, '/') != nullptr) {
    ::execve(name, process.argv, process.envp);
    return;
  }
  if (*name == 0) {
    errno = ENOENT;
    return;
  }
  const char* path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (char** entry = process.envp; *entry; ++entry) {
    if (strncmp(*entry, "PATH=", 5) == 0) {
      path = *entry + 5;
      break;
    }
  }
  int worst = ENOENT;
  for (const char* at = path;; ++at) {
    const char* end = strchrnul(at, ':');
    char candidate[4096];
    int length = snprintf(candidate, sizeof(candidate), "%.*s%s%s", static_cast<int>(end - at), at,
                          end == at ? "./" : "/", name);
    if (length < static_cast<int>(sizeof(candidate))) {
      ::execve(candidate, process.argv, process.envp);
      if (errno == EACCES) worst = EACCES;
      if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return;
    }
    if (*end == 0) break;
    at = end;
  }
  errno = worst;
}

}  // namespace

bool ParseProcess(const Field& field, Process* process, Failure* failure) {
  size_t arguments = 0, variables = 0, groups = 0, rlimits = 0;
  Field part;
  Reader counter(field);
  while (counter.Next(&part)) {
    arguments += part.tag == Tag::kArgument;
    variables += part.tag == Tag::kEnvironment;
    groups += part.tag == Tag::kGroup;
    rlimits += part.tag == Tag::kRlimit;
  }
  if (!counter.ok() || arguments == 0) return failure->Set("spec", "process", EINVAL);
  process->argv = static_cast<char**>(calloc(arguments + 1, sizeof(char*)));
  process->envp = static_cast<char**>(calloc(variables + 1, sizeof(char*)));
  process->groups = static_cast<gid_t*>(calloc(groups + 1, sizeof(gid_t)));
  process->rlimits = static_cast<Rlimit*>(calloc(rlimits + 1, sizeof(Rlimit)));
  if (!process->argv || !process->envp || !process->groups || !process->rlimits) {
    return failure->Set("spec", "process");
  }
  arguments = variables = 0;
  Reader reader(field);
  while (reader.Next(&part)) {
    const char* text = part.text();
    switch (part.tag) {
      case Tag::kArgument:
        if (!text) return failure->Set("spec", "argument", EINVAL);
        process->argv[arguments++] = const_cast<char*>(text);
        break;
      case Tag::kEnvironment:
        if (!text) return failure->Set("spec", "environment", EINVAL);
        process->envp[variables++] = const_cast<char*>(text);
        break;
      case Tag::kCwd:
        if (!text) return failure->Set("spec", "cwd", EINVAL);
        process->cwd = text;
        break;
      case Tag::kUid:
        process->uid = static_cast<uid_t>(part.number());
        break;
      case Tag::kGid:
        process->gid = static_cast<gid_t>(part.number());
        break;
      case Tag::kGroup:
        process->groups[process->group_count++] = static_cast<gid_t>(part.number());
        break;
      case Tag::kCapabilities:
        process->capabilities = part.number();
        break;
      case Tag::kAmbientCapabilities:
        process->ambient_capabilities = part.number();
        break;
      case Tag::kNoNewPrivileges:
        process->no_new_privileges = part.number() != 0;
        break;
      case Tag::kSeccomp:
        if (part.size == 0 || part.size % sizeof(sock_filter) != 0 || part.size > kMaxSeccompSize) {
          return failure->Set("spec", "seccomp filter", EINVAL);
        }
        process->seccomp = part.data;
        process->seccomp_size = part.size;
        break;
      case Tag::kSeccompFlags:
        process->seccomp_flags = static_cast<unsigned>(part.number());
        break;
      case Tag::kAppArmorProfile:
        if (!text) return failure->Set("spec", "apparmor profile", EINVAL);
        process->apparmor_profile = text;
        break;
      case Tag::kOomScoreAdj:
        process->has_oom_score_adj = true;
        process->oom_score_adj = static_cast<int>(static_cast<int64_t>(part.number()));
        break;
      case Tag::kRlimit:
        if (part.size != sizeof(Rlimit)) return failure->Set("spec", "rlimit", EINVAL);
        memcpy(&process->rlimits[process->rlimit_count++], part.data, sizeof(Rlimit));
        break;
      case Tag::kTty:
        process->tty = part.number() != 0;
        break;
      default:
        return failure->Set("spec", "process field", EINVAL);
    }
  }
  return true;
}

void ResetSignals() {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Node raises its own soft limit to the hard one at start; a payload gets back the number that
// select(2) can count to, and may raise it again as far as the unit's hard limit allows.
static void LowerOpenFiles() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= FD_SETSIZE) return;
  limit.rlim_cur = FD_SETSIZE;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// While CAP_SYS_RESOURCE is still there, which raising a hard limit needs.
static bool SetRlimits(pid_t pid, const Process& process, Failure* failure) {
  for (size_t i = 0; i < process.rlimit_count; ++i) {
    const Rlimit& wanted = process.rlimits[i];
    rlimit limit = {.rlim_cur = wanted.soft, .rlim_max = wanted.hard};
    auto resource = static_cast<__rlimit_resource>(wanted.resource);
    if (::prlimit(pid, resource, &limit, nullptr) == 0) continue;
    char number[24];
    snprintf(number, sizeof(number), "%u", static_cast<unsigned>(wanted.resource));
    return failure->Set("rlimit", number);
  }
  return true;
}

bool RaiseLimits(pid_t pid, const Process& process, Failure* failure) {
  if (!SetRlimits(pid, process, failure)) return false;
  if (!process.has_oom_score_adj) return true;
  char score[16], path[64];
  snprintf(score, sizeof(score), "%d", process.oom_score_adj);
  bool written;
  if (pid == 0) {
    written = WriteOwnProcFile("oom_score_adj", score);
  } else {
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
    UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    ssize_t length = static_cast<ssize_t>(strlen(score));
    written = file && ::write(file.get(), score, length) == length;
  }
  return written || errno == EACCES || errno == EPERM || failure->Set("oom_score_adj", score);
}

void GivePipes(uid_t uid, gid_t gid) {
  for (int fd = 0; fd <= 2; ++fd) {
    struct stat status;
    if (::fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode)) (void)!::fchown(fd, uid, gid);
  }
}

void BecomePayload(const Process& process, int alive, Failure* failure) {
  ResetSignals();
  ::umask(0022);
  LowerOpenFiles();
  if (!SetRlimits(0, process, failure)) return;
  (void)::setsid();  // fails where it leads a session already
  if (process.tty && ::ioctl(0, TIOCSCTTY, 0) != 0) {
    failure->Set("controlling terminal", "");
    return;
  }
  // The agent's session keyring is not the payload's to read; a kernel without keyrings is fine.
  (void)::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  if (process.has_oom_score_adj) {
    char score[16];
    snprintf(score, sizeof(score), "%d", process.oom_score_adj);
    // Lowering it needs CAP_SYS_RESOURCE, which a confined host may not give.
    if (!WriteOwnProcFile("oom_score_adj", score) && errno != EACCES && errno != EPERM) {
      failure->Set("oom_score_adj", score);
      return;
    }
  }
  OwnStdio(process.uid, process.tty);
  int cwd_error = EnterCwd(process.cwd) ? 0 : errno;
  if (cwd_error != 0 && cwd_error != EACCES && cwd_error != EPERM) {
    failure->Set("chdir", process.cwd, cwd_error);
    return;
  }
  if (process.apparmor_profile != nullptr) {
    char label[300];
    int length = snprintf(label, sizeof(label), "exec %s", process.apparmor_profile);
    // Cut short it could be another profile's name.
    bool whole = length < static_cast<int>(sizeof(label));
    if (!whole) errno = ENAMETOOLONG;
    if (!whole || !WriteOwnProcFile("attr/apparmor/exec", label)) {
      failure->Set("apparmor profile", process.apparmor_profile);
      return;
    }
  }
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || !DropBoundingSet(process.capabilities)) {
    failure->Set("capabilities", "bounding set");
    return;
  }
  if (::setgroups(process.group_count, process.groups) != 0 ||
      ::setresgid(process.gid, process.gid, process.gid) != 0 ||
      ::setresuid(process.uid, process.uid, process.uid) != 0) {
    failure->Set("identity", "");
    return;
  }
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  // A change of user id cleared the effective set, which the filter may need, and the death signal.
  if (!SetCapabilities(PermittedCapabilities(), 0) || ::prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) {
    failure->Set("capabilities", "");
    return;
  }
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
    failure->Set("death signal", "");
    return;
  }
  // Whoever died before the signal was set is noticed here.
  pollfd supervisor = {.fd = alive, .events = 0, .revents = 0};
  if (alive >= 0 && ::poll(&supervisor, 1, 0) > 0) ::_exit(137);
  // A network file system may refuse root and let the user in.
  if (cwd_error != 0 && !EnterCwd(process.cwd)) {
    failure->Set("chdir", process.cwd);
    return;
  }
  if (process.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    failure->Set("no_new_privs", "");
    return;
  }
  // The host itself may lack some, inside another container for instance.
  uint64_t capabilities = process.capabilities & PermittedCapabilities();
  uint64_t ambient = process.ambient_capabilities & capabilities;
  // Without no_new_privs the filter needs CAP_SYS_ADMIN, so it is loaded while that is still there
  // and must let capset pass, as the OCI runtimes ask of it too. With it, the filter comes last.
  bool filter_first = !process.no_new_privileges;
  // An ambient capability must be inheritable; both go before the filter, which need not know
  // prctl.
  if (ambient != 0 &&
      (!SetCapabilities(PermittedCapabilities(), ambient) || !RaiseAmbient(ambient))) {
    failure->Set("ambient capabilities", "");
    return;
  }
  if (filter_first && !LoadSeccomp(process)) {
    failure->Set("seccomp", "");
    return;
  }
  if (!SetCapabilities(capabilities, ambient)) {
    failure->Set("capabilities", "");
    return;
  }
  if (!filter_first && !LoadSeccomp(process)) {
    failure->Set("seccomp", "");
    return;
  }
  Execute(process);
  failure->Set("exec", process.argv[0]);
}

}  // namespace pvecri
