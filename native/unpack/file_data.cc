// Blocks of data as libarchive hands them out.
#include "unpack/file_data.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>

namespace pvecri {

Result CopyData(archive* reader, int64_t size, int fd, uint64_t* written) {
  int64_t written_to = 0;
  for (;;) {
    const void* data = nullptr;
    size_t length = 0;
    int64_t offset = 0;
    int status = ::archive_read_data_block(reader, &data, &length, &offset);
    if (status == ARCHIVE_EOF) break;
    if (status != ARCHIVE_OK) {
      const char* text = ::archive_error_string(reader);
      return Failure{Cause::kCorrupt, 0, text != nullptr ? text : "its data cannot be read"};
    }
    for (size_t done = 0; done < length;) {
      ssize_t wrote = ::pwrite(fd, static_cast<const char*>(data) + done, length - done,
                               offset + static_cast<int64_t>(done));
      if (wrote < 0 && errno != EINTR) return SystemFailure("pwrite");
      if (wrote > 0) done += static_cast<size_t>(wrote);
    }
    *written += length;
    written_to = std::max(written_to, offset + static_cast<int64_t>(length));
  }
  // A sparse file may end in a hole.
  if (written_to < size && ::ftruncate(fd, size) != 0) return SystemFailure("ftruncate");
  return {};
}

}  // namespace pvecri
