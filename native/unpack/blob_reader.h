// Reads the compressed blob from a descriptor, hashing what it reads when a digest is to be
// checked.
#pragma once

#include <stdint.h>

#include <memory>

#include "unpack/failure.h"
#include "unpack/options.h"
#include "unpack/sha256.h"

namespace pvecri {

class BlobReader {
 public:
  // `fd` is a regular file, read at offset, or a pipe; `arrival_fd` is read when options.follow
  // says so. Both stay the caller's.
  BlobReader(int fd, int arrival_fd, const Options& options);

  // Makes data()/size() the next bytes of the blob; size() 0 at its end. What was there must have
  // been used up.
  Result Fill();
  // Fills until `size` bytes are there or the blob ends, for looking at a magic number.
  Result FillAtLeast(size_t size);

  const uint8_t* data() const { return &buffer_[begin_]; }
  size_t size() const { return end_ - begin_; }
  void Consume(size_t size) { begin_ += size; }
  uint64_t bytes_read() const { return bytes_read_; }

  // Compares the digest; the blob has been read to its end.
  Result CheckDigest();

 private:
  static constexpr size_t kBufferSize = 256 << 10;

  Result Append();
  // Returns once there is something to read, or nothing more will come.
  Result AwaitArrival();

  int fd_;
  int arrival_fd_;
  const Options& options_;
  bool seekable_;
  bool ended_ = false;
  Sha256 hash_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t bytes_read_ = 0;
  // How many bytes of the blob are there, as far as we were told.
  uint64_t arrived_;
};

}  // namespace pvecri
