// The unpacking itself: one thread decompresses, one hashes, one reads the archive and writes
// files.
#pragma once

#include "common/unique_fd.h"
#include "unpack/failure.h"
#include "unpack/options.h"
#include "unpack/report.h"

namespace pvecri {

// Unpacks the blob on `blob_fd`, as it comes when the options say so, into `root` and reports the
// end of it, good or bad.
Result Unpack(int blob_fd, int arrival_fd, UniqueFd root, const Options& options,
              const Report& report);

}  // namespace pvecri
