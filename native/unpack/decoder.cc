// Decompression by ISA-L and libzstd. Both may be several members or frames in a row (pigz,
// zstd:chunked).
#include "unpack/decoder.h"

#include <string.h>

#include <algorithm>

namespace pvecri {
namespace {

Failure Corrupt(std::string message) { return {Cause::kCorrupt, 0, std::move(message)}; }

bool IsGzip(const uint8_t* data, size_t size) {
  return size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
}

// RFC 8878: a frame, or a skippable frame (0x184D2A50 to 5F), little-endian.
bool IsZstd(const uint8_t* data, size_t size) {
  if (size < 4) return false;
  uint32_t magic = data[0] | data[1] << 8 | data[2] << 16 | static_cast<uint32_t>(data[3]) << 24;
  return magic == ZSTD_MAGICNUMBER ||
         (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

// The .xz file format, 2.1.1.1.
bool IsXz(const uint8_t* data, size_t size) {
  static constexpr uint8_t kMagic[] = {0xfd, '7', 'z', 'X', 'Z', 0};
  return size >= sizeof kMagic && ::memcmp(data, kMagic, sizeof kMagic) == 0;
}

const char* InflateError(int status) {
  switch (status) {
    case ISAL_INVALID_WRAPPER:
      return "no gzip header follows";
    case ISAL_UNSUPPORTED_METHOD:
      return "it is not compressed by deflate";
    case ISAL_INCORRECT_CHECKSUM:
      return "its checksum is wrong";
    case ISAL_INVALID_LOOKBACK:
      return "it refers to what is before its beginning";
    default:
      return "a block of it cannot be read";
  }
}

// Twice what the highest level of xz takes to decompress: 64 MiB of dictionary.
constexpr uint64_t kXzMemory = 128 << 20;

}  // namespace

Decoder::~Decoder() {
  if (zstd_ != nullptr) (void)ZSTD_freeDStream(zstd_);
  ::lzma_end(&lzma_);
}

Result Decoder::Open() {
  if (Result failure = blob_->FillAtLeast(6)) return failure;
  if (IsGzip(blob_->data(), blob_->size())) {
    format_ = Format::kGzip;
    inflate_ = std::make_unique<inflate_state>();
    ::isal_inflate_init(inflate_.get());
    inflate_->crc_flag = ISAL_GZIP;
  } else if (IsZstd(blob_->data(), blob_->size())) {
    format_ = Format::kZstd;
    // Its default window limit of 128 MiB bounds the memory.
    zstd_ = ZSTD_createDStream();
    if (zstd_ == nullptr) return Corrupt("libzstd cannot be set up");
  } else if (IsXz(blob_->data(), blob_->size())) {
    if (!allow_xz_) {
      return Failure{Cause::kRefused, 0, "the layer is compressed by xz: only templates may be"};
    }
    format_ = Format::kXz;
    if (::lzma_stream_decoder(&lzma_, kXzMemory, LZMA_CONCATENATED) != LZMA_OK) {
      return Corrupt("liblzma cannot be set up");
    }
  }
  return {};
}

Result Decoder::Read(uint8_t* out, size_t capacity, size_t* size) {
  switch (format_) {
    case Format::kGzip:
      return ReadGzip(out, capacity, size);
    case Format::kZstd:
      return ReadZstd(out, capacity, size);
    case Format::kXz:
      return ReadXz(out, capacity, size);
    case Format::kNone:
      break;
  }
  return ReadPlain(out, capacity, size);
}

Result Decoder::ReadPlain(uint8_t* out, size_t capacity, size_t* size) {
  *size = 0;
  if (blob_->size() == 0) {
    if (Result failure = blob_->Fill()) return failure;
  }
  *size = std::min(capacity, blob_->size());
  ::memcpy(out, blob_->data(), *size);
  blob_->Consume(*size);
  return {};
}

Result Decoder::ReadGzip(uint8_t* out, size_t capacity, size_t* size) {
  *size = 0;
  while (*size < capacity) {
    if (blob_->size() == 0) {
      if (Result failure = blob_->Fill()) return failure;
      if (blob_->size() == 0 && at_boundary_) return {};
    }
    // Nothing but another member may follow, not even less of it than a header.
    if (at_boundary_ && blob_->data()[0] != 0x1f) {
      return Corrupt("the gzip stream is damaged: no gzip header follows");
    }
    const size_t available = blob_->size();
    inflate_->next_in = const_cast<uint8_t*>(blob_->data());
    inflate_->avail_in = static_cast<uint32_t>(available);
    inflate_->next_out = out + *size;
    inflate_->avail_out = static_cast<uint32_t>(capacity - *size);
    at_boundary_ = false;
    int status = ::isal_inflate(inflate_.get());
    if (status != ISAL_DECOMP_OK) {
      return Corrupt(std::string("the gzip stream is damaged: ") + InflateError(status));
    }
    const size_t produced = capacity - inflate_->avail_out - *size;
    *size += produced;
    blob_->Consume(available - inflate_->avail_in);
    if (inflate_->block_state == ISAL_BLOCK_FINISH) {
      // The trailer's checksum and size have been compared.
      at_boundary_ = true;
      ::isal_inflate_reset(inflate_.get());
      inflate_->crc_flag = ISAL_GZIP;
    } else if (produced == 0 && inflate_->avail_in == available) {
      // It keeps back what it has no room for: only without input and output is it at its end.
      return Corrupt("the gzip stream is truncated");
    }
  }
  return {};
}

Result Decoder::ReadZstd(uint8_t* out, size_t capacity, size_t* size) {
  ZSTD_outBuffer output = {out, capacity, 0};
  while (output.pos < capacity) {
    if (blob_->size() == 0) {
      if (Result failure = blob_->Fill()) return failure;
    }
    ZSTD_inBuffer input = {blob_->data(), blob_->size(), 0};
    if (input.size == 0 && at_boundary_) break;
    size_t produced = output.pos;
    size_t status = ZSTD_decompressStream(zstd_, &output, &input);
    blob_->Consume(input.pos);
    if (ZSTD_isError(status)) {
      return Corrupt(std::string("the zstd stream is damaged: ") + ZSTD_getErrorName(status));
    }
    // 0 says that a frame is complete and flushed.
    at_boundary_ = status == 0;
    if (input.size == 0 && !at_boundary_ && output.pos == produced) {
      return Corrupt("the zstd stream is truncated");
    }
  }
  *size = output.pos;
  return {};
}

Result Decoder::ReadXz(uint8_t* out, size_t capacity, size_t* size) {
  lzma_.next_out = out;
  lzma_.avail_out = capacity;
  lzma_ret status = LZMA_OK;
  while (status == LZMA_OK && lzma_.avail_out > 0) {
    if (blob_->size() == 0) {
      if (Result failure = blob_->Fill()) return failure;
    }
    lzma_.next_in = blob_->data();
    lzma_.avail_in = blob_->size();
    // Where streams may follow each other, only the caller knows which was the last.
    status = ::lzma_code(&lzma_, blob_->size() == 0 ? LZMA_FINISH : LZMA_RUN);
    blob_->Consume(blob_->size() - lzma_.avail_in);
  }
  *size = capacity - lzma_.avail_out;
  switch (status) {
    case LZMA_OK:
    case LZMA_STREAM_END:
      return {};
    case LZMA_MEMLIMIT_ERROR:
      return Failure{Cause::kLimit, 0,
                     "the xz stream takes " + std::to_string(::lzma_memusage(&lzma_) >> 20) +
                         " MiB of memory to unpack, and may take 128"};
    case LZMA_BUF_ERROR:
      return Corrupt("the xz stream is truncated");
    default:
      return Corrupt("the xz stream is damaged: liblzma says " + std::to_string(status));
  }
}

}  // namespace pvecri
