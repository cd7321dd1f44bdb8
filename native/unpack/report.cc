// Lines of the report. Each write is shorter than PIPE_BUF, so that threads cannot mix them up.
#include "unpack/report.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>

namespace pvecri {
namespace {

const char* Name(Cause cause) {
  switch (cause) {
    case Cause::kUsage:
      return "usage";
    case Cause::kSystem:
      return "system";
    case Cause::kCorrupt:
      return "corrupt";
    case Cause::kDigest:
      return "digest";
    case Cause::kRefused:
      return "refused";
    case Cause::kLimit:
      return "limit";
  }
  return "system";
}

}  // namespace

void Report::Write(const std::string& text) const {
  // Without a reader there is nobody left to tell; SIGPIPE is ignored.
  while (::write(fd_, text.data(), text.size()) < 0 && errno == EINTR) {
  }
}

void Report::Progress(uint64_t bytes) const { Write("progress " + std::to_string(bytes) + "\n"); }

void Report::Done(const std::string& diff_id, const Counts& counts, const RootMarks& root) const {
  std::string text = "diff-id sha256:" + diff_id + "\n";
  auto line = [&text](const char* key, uint64_t value) {
    text += std::string(key) + " " + std::to_string(value) + "\n";
  };
  line("entries", counts.entries);
  line("bytes", counts.bytes);
  line("inodes", counts.inodes);
  line("skipped-devices", counts.skipped_devices);
  line("skipped-metadata", counts.skipped_metadata);
  line("skipped-xattrs", counts.xattrs.skipped);
  line("root-opaque", root.opaque ? 1 : 0);
  if (root.has_owner) {
    line("root-mode", root.mode);
    line("root-uid", root.uid);
    line("root-gid", root.gid);
  }
  Write(text + "done\n");
}

void Report::Error(const Failure& failure) const {
  std::string message = failure.message;
  for (char& byte : message) {
    if (byte == '\n') byte = ' ';
  }
  // Room for the words before it within PIPE_BUF (4096).
  message.resize(std::min<size_t>(message.size(), 3500));
  Write(std::string("error ") + Name(failure.cause) + " " + std::to_string(failure.error) + " " +
        message + "\n");
}

}  // namespace pvecri
