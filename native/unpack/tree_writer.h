// Writes the entries of one layer into a folder of its own, the way overlayfs wants to find them,
// or on top of a copy of what lower layers have made.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <stdint.h>
#include <sys/types.h>

#include <optional>
#include <string>

#include "common/unique_fd.h"
#include "unpack/entry_attributes.h"
#include "unpack/entry_path.h"
#include "unpack/failure.h"
#include "unpack/folder_cache.h"
#include "unpack/options.h"
#include "unpack/own_inodes.h"
#include "unpack/xattrs.h"

namespace pvecri {

struct Counts {
  uint64_t entries = 0;
  // File sizes and one block for every entry: roughly what the layer takes on disk.
  uint64_t bytes = 0;
  uint64_t inodes = 0;
  uint64_t skipped_devices = 0;
  uint64_t skipped_metadata = 0;
  XattrCounts xattrs;
};

// What the layer says about its root folder; overlayfs takes neither from a lower layer's root. On
// top of lower layers both have been done.
struct RootMarks {
  bool opaque = false;
  bool has_owner = false;
  uint32_t mode = 0, uid = 0, gid = 0;
};

class TreeWriter {
 public:
  TreeWriter(UniqueFd root, const Options& options);

  // Writes one entry with its data. Failures name the entry.
  Result Add(archive* reader, archive_entry* entry);
  // Writes what was put off, and everything to the disk.
  Result Finish();

  const Counts& counts() const { return counts_; }
  const RootMarks& root_marks() const { return root_marks_; }

 private:
  Result CheckLimits(archive_entry* entry);
  Result Write(archive* reader, archive_entry* entry);
  Result AddFolder(archive_entry* entry);
  Result AddFile(archive* reader, archive_entry* entry, const Folder& parent);
  Result AddHardlink(const char* target, const Folder& parent);
  Result AddSymlink(archive_entry* entry, const Folder& parent);
  Result AddFifo(const Folder& parent);
  Result AddWhiteout(const Folder& parent);
  Result AddOpaque(Folder* folder);

  template <typename Make>
  Result Place(const Folder& parent, const char* what, Make make);
  Result SetLinkAttributes(const Folder& parent, bool with_mode);
  bool NeedsOwner(const Folder& parent) const {
    return attributes_.uid != 0 || attributes_.gid != 0 || parent.set_gid;
  }
  void CountInode();
  // Says that what has just been made under the name is the layer's own.
  Result Claim(const Folder& parent);
  Result RemoveLowerIn(const Folder& folder);
  // Takes away what an earlier entry has left under this name.
  Result Clear(const Folder& parent, const char* name);

  UniqueFd root_;
  const Limits& limits_;
  OwnInodes own_;
  FolderCache folders_;
  // Lower layers' folders that this layer has an entry for.
  InodeSet described_;
  EntryPath path_;
  EntryAttributes attributes_ = {};
  uint64_t content_bytes_ = 0;
  Counts counts_;
  RootMarks root_marks_;
};

}  // namespace pvecri
