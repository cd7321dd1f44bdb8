// Threads and the archive reader between them.
#include "unpack/pipeline.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "unpack/blob_reader.h"
#include "unpack/block_ring.h"
#include "unpack/decoder.h"
#include "unpack/sha256.h"
#include "unpack/tree_writer.h"

namespace pvecri {
namespace {

constexpr int kHasher = 0;
constexpr int kWriter = 1;
constexpr uint64_t kProgressStep = 4 << 20;

struct FreeArchive {
  void operator()(archive* reader) const { (void)::archive_read_free(reader); }
};

Result CheckSize(uint64_t produced, uint64_t consumed, const Limits& limits) {
  if (produced > limits.max_bytes) {
    return Failure{Cause::kLimit, 0,
                   "the layer unpacks to more than " + std::to_string(limits.max_bytes) + " bytes"};
  }
  if (produced > limits.ratio_floor && produced / limits.max_ratio > consumed) {
    return Failure{
        Cause::kLimit, 0,
        "the layer unpacks to more than " + std::to_string(limits.max_ratio) + " times its size"};
  }
  return {};
}

Result Decode(BlobReader* blob, const Options& options, const Report& report, BlockRing* ring) {
  Decoder decoder(blob, options.allow_xz);
  if (Result failure = decoder.Open()) return failure;
  uint64_t produced = 0;
  uint64_t reported = 0;
  for (;;) {
    uint8_t* block = ring->Acquire();
    if (block == nullptr) return {};
    size_t size = 0;
    if (Result failure = decoder.Read(block, BlockRing::kBlockSize, &size)) return failure;
    if (size == 0) break;
    produced += size;
    if (Result failure = CheckSize(produced, blob->bytes_read(), options.limits)) return failure;
    ring->Publish(size);
    if (blob->bytes_read() - reported >= kProgressStep) {
      reported = blob->bytes_read();
      report.Progress(reported);
    }
  }
  return blob->CheckDigest();
}

la_ssize_t ReadBlock(archive*, void* context, const void** data) {
  const uint8_t* block = nullptr;
  size_t size = 0;
  if (!static_cast<BlockRing*>(context)->Next(kWriter, &block, &size)) return 0;
  *data = block;
  return static_cast<la_ssize_t>(size);
}

Failure ArchiveFailure(archive* reader) {
  const char* text = ::archive_error_string(reader);
  return {
      Cause::kCorrupt, 0,
      std::string("the layer is no sound tar archive: ") + (text != nullptr ? text : "no reason")};
}

Result WriteEntries(BlockRing* ring, TreeWriter* writer) {
  std::unique_ptr<archive, FreeArchive> reader(::archive_read_new());
  // Plain tar alone: no other format or filter of libarchive can be reached by what is in a blob.
  if (!reader || ::archive_read_support_format_tar(reader.get()) != ARCHIVE_OK ||
      ::archive_read_support_format_empty(reader.get()) != ARCHIVE_OK) {
    return SystemFailure("libarchive cannot be set up", ENOMEM);
  }
  if (::archive_read_open(reader.get(), ring, nullptr, ReadBlock, nullptr) != ARCHIVE_OK) {
    return ArchiveFailure(reader.get());
  }
  for (;;) {
    archive_entry* entry = nullptr;
    int status = ::archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) break;
    // After a warning libarchive goes on without what it could not read: a name cut short, for one.
    if (status != ARCHIVE_OK) return ArchiveFailure(reader.get());
    if (Result failure = writer->Add(reader.get(), entry)) return failure;
  }
  // The digest is over everything, padding after the end of the archive included.
  const uint8_t* block = nullptr;
  size_t size = 0;
  while (ring->Next(kWriter, &block, &size)) {
  }
  return {};
}

// Without a file (-1) it only counts.
Result WriteContent(BlockRing* ring, int file, uint64_t* bytes) {
  const uint8_t* block = nullptr;
  size_t size = 0;
  while (ring->Next(kWriter, &block, &size)) {
    *bytes += size;
    if (file < 0) continue;
    for (size_t done = 0; done < size;) {
      ssize_t written = ::write(file, block + done, size - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return SystemFailure("cannot write the content");
      done += static_cast<size_t>(written);
    }
  }
  return {};
}

}  // namespace

Result Unpack(int blob_fd, int arrival_fd, UniqueFd root, const Options& options,
              const Report& report) {
  BlockRing ring;
  BlobReader blob(blob_fd, arrival_fd, options);
  UniqueFd content;
  if (options.as_file) {
    content =
        UniqueFd(::openat(root.get(), "content", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!content) return SystemFailure("cannot make the file of the content");
  }
  TreeWriter writer(std::move(root), options);
  Sha256 hash;

  Result decoding;
  std::thread decoder([&] {
    decoding = Decode(&blob, options, report, &ring);
    if (decoding) {
      ring.Stop();
    } else {
      ring.Finish();
    }
  });
  std::thread hasher([&] {
    const uint8_t* block = nullptr;
    size_t size = 0;
    while (ring.Next(kHasher, &block, &size)) hash.Update(block, size);
  });
  const bool unpacks = !options.as_file && !options.hash_only;
  uint64_t content_bytes = 0;
  Result writing =
      unpacks ? WriteEntries(&ring, &writer) : WriteContent(&ring, content.get(), &content_bytes);
  if (writing) ring.Stop();
  decoder.join();
  hasher.join();

  // When decoding failed, the archive broke off as a consequence.
  if (decoding) return decoding;
  if (writing) return writing;
  std::string actual = hash.Hex();
  if (!options.diff_id.empty() && actual != options.diff_id) {
    return Failure{Cause::kDigest, 0,
                   "the layer's content is sha256:" + actual +
                       ", not the diff_id sha256:" + options.diff_id + " of the image config"};
  }
  if (unpacks) {
    if (Result failure = writer.Finish()) return failure;
  }
  Counts counts = writer.counts();
  if (!unpacks) counts.bytes = content_bytes;
  report.Done(actual, counts, writer.root_marks());
  return {};
}

}  // namespace pvecri
