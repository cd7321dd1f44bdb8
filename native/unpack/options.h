// The command line of the unpack helper.
#pragma once

#include <stdint.h>

#include <string>

#include "unpack/failure.h"

namespace pvecri {

struct Limits {
  // Most bytes the layer may hold, counted both as a stream and as file sizes (holes included).
  uint64_t max_bytes = 64ull << 30;
  uint64_t max_entries = 1'000'000;
  // Above `ratio_floor` bytes the stream may be at most `max_ratio` times what was read so far.
  uint64_t max_ratio = 200;
  uint64_t ratio_floor = 1ull << 30;
};

struct Options {
  std::string diff_id;  // 64 hex digits: sha256 of the uncompressed stream, or "" when unknown
  std::string digest;   // 64 hex digits: sha256 of the blob, or "" when the caller has checked it
  // Part of descriptor 0 that holds the blob, for one inside a larger file. Without a length, all.
  uint64_t offset = 0;
  uint64_t length = UINT64_MAX;
  // When not 0, the file is still being written: each byte on descriptor 1 says that so many more
  // are there, and the end of it that all are.
  uint64_t follow = 0;
  bool allow_xz = false;
  // Whether the target holds a copy of what the layers below have made, which the layer changes.
  bool apply = false;
  // The content goes as it is into the file `content` of the target folder: nothing is unpacked.
  bool as_file = false;
  // Nothing is written: the digest and size of the content are all that is wanted.
  bool hash_only = false;
  Limits limits;
};

Result ParseOptions(int argc, char** argv, Options* options);

}  // namespace pvecri
