// The container's log in CRI's format: `2026-01-02T03:04:05.000000000Z stdout F text`.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/unique_fd.h"

namespace pvecri {

class LogFile {
 public:
  // An empty path discards everything. The last component may not be a symlink, nor anything but a
  // regular file, and none below `folder` may be a symlink. False with errno set.
  bool Open(const char* folder, const char* path);
  // Puts a newly opened file in the place of the old one, which stays in use when that fails.
  bool Reopen();
  // One burst; a file that can't take it loses it, so that the payload never waits for a disk.
  void Write(const iovec* parts, int count);
  // Writes a line in the place of what was lost, as soon as there is room for one.
  void TellLoss();
  uint64_t lost_bytes() const { return lost_bytes_; }

 private:
  UniqueFd OpenAppending() const;

  const char* folder_ = "";
  const char* path_ = "";
  UniqueFd file_;
  uint64_t lost_bytes_ = 0;
  // Not told in the log itself yet, and why they were lost.
  uint64_t untold_bytes_ = 0;
  int loss_ = 0;
  bool torn_ = false;
};

// Cuts one stream of the payload into log lines.
class LogStream {
 public:
  // The longest line text; what is longer is cut into partial lines.
  static constexpr size_t kMaxLine = 16 * 1024;

  LogStream(LogFile* file, const char* name) : file_(file), name_(name) {}
  enum class Got { kData, kNothing, kEnd };
  // Reads what is there, once. After kData it is fresh() until it is written by Log().
  Got Read(int fd);
  const char* fresh() const { return buffer_ + held_ - fresh_; }
  size_t fresh_size() const { return fresh_; }
  // Writes the lines that are whole.
  void Log();
  // Writes a last line that has no newline.
  void Finish();

 private:
  LogFile* file_;
  const char* name_;
  size_t held_ = 0;
  size_t fresh_ = 0;
  char buffer_[2 * kMaxLine];
};

}  // namespace pvecri
