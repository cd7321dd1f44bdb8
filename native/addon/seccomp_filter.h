// Seccomp filters, from rules to BPF.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "addon/failure.h"

namespace pvecri {

struct SeccompArgument {
  unsigned index = 0;  // 0 to 5
  int op = 0;          // enum scmp_compare
  uint64_t a = 0;
  uint64_t b = 0;  // for a masked comparison `a` is the mask and this the value
};

struct SeccompRule {
  std::vector<std::string> names;
  uint32_t action = 0;  // SCMP_ACT_*
  std::vector<SeccompArgument> arguments;
};

struct SeccompRules {
  uint32_t default_action = 0;
  std::vector<uint32_t> architectures;  // SCMP_ARCH_*, besides the native one
  std::vector<SeccompRule> rules;
};

// `program` becomes struct sock_filter[]. A failure's path is the system call that is at fault.
Failure CompileSeccomp(const SeccompRules& rules, std::vector<uint8_t>* program);

}  // namespace pvecri
