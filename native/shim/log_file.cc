// Line splitting, time stamps and appending for the container's log.
#include "shim/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/syscalls.h"

namespace pvecri {
namespace {

constexpr int kMaxLines = 128;  // per writev: three parts each, below IOV_MAX

// `2026-01-02T03:04:05.000000000Z stdout F ` for now; the date is made anew once per second.
size_t MakeHeader(const char* stream, char* header, size_t room) {
  static time_t second = -1;
  static char date[24];
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_sec != second) {
    tm parts;
    ::gmtime_r(&now.tv_sec, &parts);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    second = now.tv_sec;
  }
  return static_cast<size_t>(snprintf(header, room, "%s.%09ldZ %s F ", date, now.tv_nsec, stream));
}

iovec Part(const char* data, size_t size) { return {const_cast<char*>(data), size}; }

}  // namespace

UniqueFd LogFile::OpenAppending() const {
  // O_NONBLOCK: a FIFO without reader must not hold the shim (it gives ENXIO).
  constexpr uint64_t kFlags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
  constexpr uint64_t kMode = 0640;
  UniqueFd folder, file;
  size_t above = strlen(folder_);
  if (above == 0) {
    file.reset(OpenAt2(AT_FDCWD, path_, kFlags, 0, kMode));
  } else if (strncmp(path_, folder_, above) != 0) {
    errno = EXDEV;
  } else {
    // Pods that may write to the host's log folders put links there, for the node to follow.
    folder.reset(::open(folder_, O_PATH | O_DIRECTORY | O_CLOEXEC));
    const char* below = path_ + above + strspn(path_ + above, "/");
    if (folder) {
      file.reset(
          OpenAt2(folder.get(), below, kFlags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, kMode));
    }
  }
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) return UniqueFd();
  if (S_ISREG(status.st_mode)) return file;
  errno = EINVAL;
  return UniqueFd();
}

bool LogFile::Open(const char* folder, const char* path) {
  folder_ = folder;
  path_ = path;
  if (*path == 0) return true;
  file_ = OpenAppending();
  return static_cast<bool>(file_);
}

bool LogFile::Reopen() {
  if (*path_ == 0) return true;
  UniqueFd file = OpenAppending();
  if (!file) return false;
  file_ = std::move(file);
  torn_ = false;
  return true;
}

void LogFile::Write(const iovec* parts, int count) {
  if (!file_) return;
  size_t wanted = 0;
  for (int i = 0; i < count; ++i) wanted += parts[i].iov_len;
  TellLoss();
  ssize_t written = untold_bytes_ > 0 ? 0 : ::writev(file_.get(), parts, count);
  if (written == static_cast<ssize_t>(wanted)) return;
  // Nobody says why a write was cut short: it is the full disk.
  if (untold_bytes_ == 0) loss_ = written < 0 ? errno : ENOSPC;
  if (written > 0) torn_ = true;
  size_t lost = wanted - (written > 0 ? static_cast<size_t>(written) : 0);
  lost_bytes_ += lost;
  untold_bytes_ += lost;
}

void LogFile::TellLoss() {
  if (!file_ || untold_bytes_ == 0) return;
  // After a write that was cut short, the next one must begin on a line of its own.
  if (torn_ && ::write(file_.get(), "\n", 1) == 1) torn_ = false;
  if (torn_) return;
  char line[256];
  size_t length = MakeHeader("stderr", line, sizeof(line));
  length += static_cast<size_t>(snprintf(
      line + length, sizeof(line) - length, "pvecri: %llu bytes of output are missing here: %s\n",
      static_cast<unsigned long long>(untold_bytes_), strerror(loss_)));
  ssize_t written = ::write(file_.get(), line, length);
  torn_ = written > 0 && written < static_cast<ssize_t>(length);
  if (written == static_cast<ssize_t>(length)) untold_bytes_ = 0;
}

LogStream::Got LogStream::Read(int fd) {
  ssize_t got;
  do got = ::read(fd, buffer_ + held_, sizeof(buffer_) - held_);
  while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return Got::kNothing;
  // EIO is how a pty tells that its last slave was closed.
  if (got <= 0) return Got::kEnd;
  fresh_ = static_cast<size_t>(got);
  held_ += fresh_;
  return Got::kData;
}

void LogStream::Log() {
  char full[64], partial[64];
  size_t header = MakeHeader(name_, full, sizeof(full));
  memcpy(partial, full, header);
  partial[header - 2] = 'P';
  iovec parts[kMaxLines * 3];
  int count = 0;
  size_t at = 0;
  while (at < held_) {
    size_t window = held_ - at < kMaxLine ? held_ - at : kMaxLine;
    const char* newline = static_cast<const char*>(memchr(buffer_ + at, '\n', window));
    // A line of just the longest length is whole when its newline is the next byte.
    if (!newline && window == kMaxLine && held_ - at > kMaxLine && buffer_[at + kMaxLine] == '\n') {
      newline = buffer_ + at + kMaxLine;
    }
    if (newline) {
      size_t length = static_cast<size_t>(newline - (buffer_ + at)) + 1;
      parts[count++] = Part(full, header);
      parts[count++] = Part(buffer_ + at, length);
      at += length;
    } else if (held_ - at > kMaxLine) {
      parts[count++] = Part(partial, header);
      parts[count++] = Part(buffer_ + at, kMaxLine);
      parts[count++] = Part("\n", 1);
      at += kMaxLine;
    } else {
      break;
    }
    if (count > (kMaxLines - 1) * 3) {
      file_->Write(parts, count);
      count = 0;
    }
  }
  if (count > 0) file_->Write(parts, count);
  held_ -= at;
  if (at > 0 && held_ > 0) memmove(buffer_, buffer_ + at, held_);
}

void LogStream::Finish() {
  if (held_ == 0) return file_->TellLoss();
  char header[64];
  size_t length = MakeHeader(name_, header, sizeof(header));
  iovec parts[] = {Part(header, length), Part(buffer_, held_), Part("\n", 1)};
  file_->Write(parts, 3);
  held_ = 0;
}

}  // namespace pvecri
