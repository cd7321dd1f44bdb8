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
  int error = 0;  // errno the calls get, 0 to allow them
  std::vector<SeccompArgument> arguments;
};

struct SeccompRules {
  int default_error = 0;
  std::vector<SeccompRule> rules;
};

// `program` becomes struct sock_filter[] for the native architecture and those it runs as well.
Failure CompileSeccomp(const SeccompRules& rules, std::vector<uint8_t>* program);

}  // namespace pvecri
