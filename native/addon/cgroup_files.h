// The accounting files of one cgroup, opened once and read many times.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace pvecri {

// One line of a pressure file (Documentation/accounting/psi.rst): percents, and microseconds in
// all.
struct Pressure {
  double avg10;
  double avg60;
  double avg300;
  double total_micros;
};

struct Pressures {
  Pressure some;
  Pressure full;
};

// NaN for what the kernel does not tell here, and for a limit of "max". The members stand in the
// order of SWEEP_FIELDS (src/native/binding.ts), after its token.
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
  double swap_limit_bytes;
  double processes;
  Pressures cpu;
  Pressures memory;
  Pressures io;
};

class CgroupFiles {
 public:
  // Returns 0 or an errno: EINVAL for a folder outside cgroup v2. Counting the processes of all
  // that is below takes a walk, so only who asks for it pays.
  int Open(const std::string& path, bool count_processes);
  // False once the cgroup is removed; its descriptors are closed then.
  bool Read(CgroupFigures* figures);

 private:
  void OpenFiles();
  void Close();

  UniqueFd folder_;
  bool opened_ = false;
  bool count_processes_ = false;
  UniqueFd cpu_stat_;
  UniqueFd memory_current_;
  UniqueFd memory_stat_;
  UniqueFd memory_swap_current_;
  UniqueFd memory_max_;
  UniqueFd memory_swap_max_;
  UniqueFd cpu_pressure_;
  UniqueFd memory_pressure_;
  UniqueFd io_pressure_;
};

}  // namespace pvecri
