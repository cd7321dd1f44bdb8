// The accounting files of one cgroup, opened once and read many times.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace pvecri {

// NaN for what the kernel does not tell here, and for a memory limit of "max". The members stand in
// the order of SWEEP_FIELDS (src/native/binding.ts), after its token.
struct CgroupFigures {
  double timestamp_ms;
  double cpu_usage_micros;
  double memory_bytes;
  double inactive_file_bytes;
  double anon_bytes;
  double page_faults;
  double major_page_faults;
  double swap_bytes;
  double memory_limit_bytes;
  double pids;
};

class CgroupFiles {
 public:
  // Returns 0 or an errno: EINVAL for a folder outside cgroup v2.
  int Open(const std::string& path);
  // False once the cgroup is removed; its descriptors are closed then.
  bool Read(CgroupFigures* figures);

 private:
  void OpenFiles();
  void Close();

  UniqueFd folder_;
  bool opened_ = false;
  UniqueFd cpu_stat_;
  UniqueFd memory_current_;
  UniqueFd memory_stat_;
  UniqueFd memory_swap_current_;
  UniqueFd memory_max_;
  UniqueFd pids_current_;
};

}  // namespace pvecri
