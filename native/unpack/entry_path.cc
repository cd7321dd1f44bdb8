// Checks of names that come from an archive.
#include "unpack/entry_path.h"

#include <limits.h>

namespace pvecri {
namespace {

constexpr std::string_view kWhiteoutPrefix = ".wh.";
constexpr std::string_view kMetadataPrefix = ".wh..wh.";
constexpr std::string_view kOpaqueName = ".wh..wh..opq";

Failure Refused(std::string_view name, const char* why) {
  return {Cause::kRefused, 0, "entry " + Quote(name) + " " + why};
}

}  // namespace

Result ParseEntryPath(std::string_view name, EntryPath* path) {
  *path = {};
  if (name.size() >= PATH_MAX) return Refused(name, "has a name longer than 4095 bytes");
  std::string_view rest = name;
  while (!rest.empty()) {
    size_t slash = rest.find('/');
    std::string_view component = rest.substr(0, slash);
    rest = slash == rest.npos ? std::string_view() : rest.substr(slash + 1);
    if (component.empty() || component == ".") continue;
    if (component == "..") return Refused(name, "leads out of its folder by \"..\"");
    if (component.size() > NAME_MAX) return Refused(name, "has a component longer than 255 bytes");
    if (!path->base.empty()) {
      if (path->base.starts_with(kWhiteoutPrefix)) {
        return Refused(name, "uses a whiteout as a folder");
      }
      path->parent += path->parent.empty() ? path->base : "/" + path->base;
    }
    path->base = component;
  }
  if (KindOfName(path->base) == NameKind::kWhiteout) {
    std::string_view target = WhiteoutTarget(path->base);
    if (target.empty() || target == "." || target == "..") {
      return Refused(name, "is a whiteout of no name");
    }
  }
  return {};
}

NameKind KindOfName(std::string_view base) {
  if (base == kOpaqueName) return NameKind::kOpaque;
  if (base.starts_with(kMetadataPrefix)) return NameKind::kMetadata;
  return base.starts_with(kWhiteoutPrefix) ? NameKind::kWhiteout : NameKind::kPlain;
}

std::string_view WhiteoutTarget(std::string_view base) {
  return base.substr(kWhiteoutPrefix.size());
}

}  // namespace pvecri
