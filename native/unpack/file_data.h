// The content of a file, from the archive to the disk.
#pragma once

#include <archive.h>
#include <stdint.h>

#include "unpack/failure.h"

namespace pvecri {

// Writes the data of the entry that `reader` is at, holes left out, until the file has `size`. Adds
// what was written to *written.
Result CopyData(archive* reader, int64_t size, int fd, uint64_t* written);

}  // namespace pvecri
