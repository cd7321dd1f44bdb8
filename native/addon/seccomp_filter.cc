// Seccomp filters, from rules to BPF, by libseccomp.
#include "addon/seccomp_filter.h"

#include <linux/bpf_common.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <type_traits>

#include "common/unique_fd.h"

namespace pvecri {
namespace {

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, Release>;

Failure AddArchitectures(scmp_filter_ctx context, const SeccompRules& rules) {
  for (uint32_t architecture : rules.architectures) {
    int result = seccomp_arch_add(context, architecture);
    if (result < 0 && result != -EEXIST) return {-result, "seccomp_arch_add", {}, {}};
  }
  return {};
}

bool LetsPass(uint32_t action) { return action == SCMP_ACT_ALLOW || action == SCMP_ACT_LOG; }

Failure AddRule(scmp_filter_ctx context, const SeccompRule& rule, uint32_t default_action) {
  // libseccomp refuses a rule that says what holds anyway.
  if (rule.action == default_action) return {};
  std::vector<scmp_arg_cmp> arguments;
  for (const SeccompArgument& argument : rule.arguments) {
    arguments.push_back(
        {argument.index, static_cast<scmp_compare>(argument.op), argument.a, argument.b});
  }
  for (const std::string& name : rule.names) {
    int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) {
      // Newer than this libseccomp. Where the rest is forbidden, so is this.
      if (!LetsPass(default_action) || LetsPass(rule.action)) continue;
      return {ENOSYS, "seccomp_syscall_resolve_name", name, "libseccomp does not know the call"};
    }
    int result = seccomp_rule_add_array(context, rule.action, number,
                                        static_cast<unsigned>(arguments.size()), arguments.data());
    if (result < 0) return {-result, "seccomp_rule_add", name, {}};
  }
  return {};
}

Failure Export(scmp_filter_ctx context, std::vector<uint8_t>* program) {
  UniqueFd fd(memfd_create("pvecri-seccomp", MFD_CLOEXEC));
  if (!fd) return {errno, "memfd_create", {}, {}};
  int result = seccomp_export_bpf(context, fd.get());
  if (result < 0) return {-result, "seccomp_export_bpf", {}, {}};
  struct stat status;
  if (fstat(fd.get(), &status) < 0) return {errno, "fstat", {}, {}};
  auto size = static_cast<size_t>(status.st_size);
  if (size > BPF_MAXINSNS * sizeof(sock_filter)) {
    return {E2BIG, "seccomp_export_bpf", {}, "the kernel takes at most 4096 instructions"};
  }
  program->resize(size);
  if (pread(fd.get(), program->data(), size, 0) != status.st_size) {
    return {EIO, "pread", {}, {}};
  }
  return {};
}

}  // namespace

Failure CompileSeccomp(const SeccompRules& rules, std::vector<uint8_t>* program) {
  Context context(seccomp_init(rules.default_action));
  if (!context) return {ENOMEM, "seccomp_init", {}, {}};
  int result = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (result < 0) return {-result, "seccomp_attr_set", {}, {}};
  // A binary tree: a call in the middle of 400 rules costs 9 comparisons instead of 200.
  result = seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  if (result < 0) return {-result, "seccomp_attr_set", {}, {}};
  if (Failure failure = AddArchitectures(context.get(), rules)) return failure;
  for (const SeccompRule& rule : rules.rules) {
    if (Failure failure = AddRule(context.get(), rule, rules.default_action)) return failure;
  }
  return Export(context.get(), program);
}

}  // namespace pvecri
