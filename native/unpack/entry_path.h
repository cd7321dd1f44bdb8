// The name of an archive entry, taken apart and checked.
#pragma once

#include <string>
#include <string_view>

#include "unpack/failure.h"

namespace pvecri {

struct EntryPath {
  // Both empty for the layer's root folder. `parent` is "" or components joined by one slash each.
  std::string parent;
  std::string base;

  bool IsRoot() const { return base.empty(); }
  std::string Full() const { return parent.empty() ? base : parent + "/" + base; }
};

// Takes leading slashes, `.` and double slashes away; refuses `..` and what no kernel can hold.
Result ParseEntryPath(std::string_view name, EntryPath* path);

// What a name means in a layer (OCI image spec, layer.md, Whiteouts).
enum class NameKind {
  kPlain,
  kWhiteout,  // `.wh.NAME`: NAME of a lower layer is gone
  kOpaque,    // `.wh..wh..opq`: everything a lower layer has in this folder is gone
  kMetadata,  // any other `.wh..wh.`: bookkeeping of aufs, to be left out
};

NameKind KindOfName(std::string_view base);

// NAME of a whiteout.
std::string_view WhiteoutTarget(std::string_view base);

}  // namespace pvecri
