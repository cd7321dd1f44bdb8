// Streaming decompression of a layer blob: gzip, zstd, xz or none, told apart by magic
// number.
#pragma once

#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <stddef.h>
#include <stdint.h>
#include <zstd.h>

#include <memory>

#include "unpack/blob_reader.h"
#include "unpack/failure.h"

namespace pvecri {

class Decoder {
 public:
  // xz is for Proxmox templates alone: no image layer has it.
  Decoder(BlobReader* blob, bool allow_xz) : blob_(blob), allow_xz_(allow_xz) {}
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Looks at the first bytes.
  Result Open();
  // Fills `out` as far as the stream reaches; *size is 0 at the end alone.
  Result Read(uint8_t* out, size_t capacity, size_t* size);

 private:
  enum class Format { kNone, kGzip, kZstd, kXz };

  Result ReadPlain(uint8_t* out, size_t capacity, size_t* size);
  Result ReadGzip(uint8_t* out, size_t capacity, size_t* size);
  Result ReadZstd(uint8_t* out, size_t capacity, size_t* size);
  Result ReadXz(uint8_t* out, size_t capacity, size_t* size);

  BlobReader* blob_;
  const bool allow_xz_;
  Format format_ = Format::kNone;
  // True between two gzip members or zstd frames, where the blob may end.
  bool at_boundary_ = true;
  std::unique_ptr<inflate_state> inflate_;
  ZSTD_DStream* zstd_ = nullptr;
  lzma_stream lzma_ = LZMA_STREAM_INIT;
};

}  // namespace pvecri
