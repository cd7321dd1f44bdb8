// What the helper tells the agent on a pipe: lines of words, the last of them `done` or `error`.
//
//   progress BYTES                  compressed bytes read so far
//   diff-id sha256:HEX              of the content, before `done`
//   KEY NUMBER                      a figure, before `done`
//   done
//   error CAUSE ERRNO MESSAGE       MESSAGE is the rest of the line
#pragma once

#include <stdint.h>

#include "unpack/failure.h"
#include "unpack/tree_writer.h"

namespace pvecri {

class Report {
 public:
  explicit Report(int fd) : fd_(fd) {}

  void Progress(uint64_t bytes) const;
  void Done(const std::string& diff_id, const Counts& counts, const RootMarks& root) const;
  void Error(const Failure& failure) const;

 private:
  void Write(const std::string& text) const;

  int fd_;
};

}  // namespace pvecri
