// Reading a blob from a part of a file or from a pipe.
#include "unpack/blob_reader.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace pvecri {
namespace {

bool IsRegular(int fd) {
  struct stat status;
  return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

BlobReader::BlobReader(int fd, int arrival_fd, const Options& options)
    : fd_(fd),
      arrival_fd_(arrival_fd),
      options_(options),
      seekable_(IsRegular(fd)),
      buffer_(new uint8_t[kBufferSize]),
      arrived_(options.follow == 0 ? UINT64_MAX : 0) {}

Result BlobReader::AwaitArrival() {
  while (bytes_read_ >= arrived_) {
    char steps[256];
    ssize_t got = ::read(arrival_fd_, steps, sizeof steps);
    if (got < 0 && errno != EINTR)
      return SystemFailure("cannot learn how much of the blob is there");
    if (got == 0) arrived_ = UINT64_MAX;
    if (got > 0) arrived_ += static_cast<uint64_t>(got) * options_.follow;
  }
  return {};
}

Result BlobReader::Append() {
  uint64_t wanted = std::min<uint64_t>(kBufferSize - end_, options_.length - bytes_read_);
  if (wanted == 0) {
    ended_ = true;
    return {};
  }
  if (Result failure = AwaitArrival()) return failure;
  wanted = std::min(wanted, arrived_ - bytes_read_);
  ssize_t got;
  do {
    // A file inside an archive is shared with nobody, but its descriptor's position may be.
    got = seekable_ ? ::pread(fd_, &buffer_[end_], wanted,
                              static_cast<off_t>(options_.offset + bytes_read_))
                    : ::read(fd_, &buffer_[end_], wanted);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return SystemFailure("cannot read the blob");
  if (got == 0) {
    ended_ = true;
    if (options_.length != UINT64_MAX) {
      return Failure{Cause::kCorrupt, 0,
                     "the blob is truncated: " + std::to_string(bytes_read_) + " of " +
                         std::to_string(options_.length) + " bytes are there"};
    }
    return {};
  }
  if (!options_.digest.empty()) hash_.Update(&buffer_[end_], static_cast<size_t>(got));
  end_ += static_cast<size_t>(got);
  bytes_read_ += static_cast<uint64_t>(got);
  return {};
}

Result BlobReader::Fill() {
  begin_ = end_ = 0;
  return ended_ ? Result() : Append();
}

Result BlobReader::FillAtLeast(size_t size) {
  while (end_ - begin_ < size && !ended_) {
    if (Result failure = Append()) return failure;
  }
  return {};
}

Result BlobReader::CheckDigest() {
  if (options_.digest.empty()) return {};
  std::string actual = hash_.Hex();
  if (actual == options_.digest) return {};
  return Failure{Cause::kDigest, 0,
                 "the blob's digest is sha256:" + actual + ", not sha256:" + options_.digest};
}

}  // namespace pvecri
