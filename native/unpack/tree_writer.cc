// The writer: every name is relative to a folder descriptor below the root, and nothing is
// followed.
#include "unpack/tree_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unpack/file_data.h"
#include "unpack/overlay_marks.h"
#include "unpack/remove_tree.h"
#include "unpack/xattrs.h"

namespace pvecri {
namespace {

constexpr uint64_t kBlock = 4096;

Failure Refused(std::string message) { return {Cause::kRefused, 0, std::move(message)}; }

}  // namespace

TreeWriter::TreeWriter(UniqueFd root, const Options& options)
    : root_(std::move(root)),
      limits_(options.limits),
      own_(options.apply),
      folders_(root_.get(), &own_) {}

Result TreeWriter::Add(archive* reader, archive_entry* entry) {
  const char* name = ::archive_entry_pathname(entry);
  if (name == nullptr) return Refused("an entry has a name that cannot be read");
  Result failure = CheckLimits(entry);
  if (!failure) failure = ParseEntryPath(name, &path_);
  if (!failure) failure = ReadAttributes(entry, &attributes_);
  if (!failure) failure = Write(reader, entry);
  std::string quoted = Quote(name);
  if (failure && failure->message.find(quoted) == std::string::npos) {
    failure->message = "entry " + quoted + ": " + failure->message;
  }
  return failure;
}

Result TreeWriter::CheckLimits(archive_entry* entry) {
  if (++counts_.entries + folders_.made() > limits_.max_entries) {
    return Failure{Cause::kLimit, 0,
                   "the layer has more than " + std::to_string(limits_.max_entries) + " entries"};
  }
  int64_t size = ::archive_entry_size(entry);
  if (size < 0) return Refused("has a negative size");
  if (static_cast<uint64_t>(size) > limits_.max_bytes - content_bytes_ ||
      counts_.xattrs.bytes > limits_.max_bytes) {
    return Failure{
        Cause::kLimit, 0,
        "the layer's files are larger than " + std::to_string(limits_.max_bytes) + " bytes"};
  }
  content_bytes_ += static_cast<uint64_t>(size);
  return {};
}

Result TreeWriter::Write(archive* reader, archive_entry* entry) {
  NameKind kind = KindOfName(path_.base);
  if (kind == NameKind::kMetadata) {
    ++counts_.skipped_metadata;
    return {};
  }
  const bool is_link = ::archive_entry_hardlink(entry) != nullptr;
  const mode_t type = ::archive_entry_filetype(entry);
  if (kind == NameKind::kPlain && !is_link) {
    if (type == AE_IFDIR) return AddFolder(entry);
    if (type == AE_IFCHR || type == AE_IFBLK) {
      ++counts_.skipped_devices;
      return {};
    }
  }
  if (path_.IsRoot()) return Refused("the root of a layer can only be a folder");
  Folder* parent = nullptr;
  if (Result failure = folders_.Get(path_.parent, &parent)) return failure;
  if (kind == NameKind::kOpaque) return AddOpaque(parent);
  if (kind == NameKind::kPlain && is_link) {
    return AddHardlink(::archive_entry_hardlink(entry), *parent);
  }
  if (kind == NameKind::kWhiteout) return AddWhiteout(*parent);
  CountInode();
  switch (type) {
    case AE_IFREG:
      return AddFile(reader, entry, *parent);
    case AE_IFLNK:
      return AddSymlink(entry, *parent);
    case AE_IFIFO:
      return AddFifo(*parent);
    default:
      return Refused("is of a type that layers do not have");
  }
}

Result TreeWriter::AddFolder(archive_entry* entry) {
  if (path_.IsRoot() && !own_.has_lower()) {
    root_marks_.has_owner = true;
    root_marks_.mode = attributes_.mode;
    root_marks_.uid = attributes_.uid;
    root_marks_.gid = attributes_.gid;
  }
  if (!path_.IsRoot()) {
    Folder* parent = nullptr;
    if (Result failure = folders_.Get(path_.parent, &parent)) return failure;
    const char* name = path_.base.c_str();
    int parent_fd = parent->fd.get();
    if (::mkdirat(parent_fd, name, 0755) != 0) {
      struct stat status;
      if (errno != EEXIST || ::fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return SystemFailure("mkdirat");
      }
      if (!S_ISDIR(status.st_mode)) {
        if (Result failure = folders_.Replace(*parent, name)) return failure;
      }
    }
    CountInode();
  }
  Folder* folder = nullptr;
  if (Result failure = folders_.Get(path_.Full(), &folder)) return failure;
  int fd = folder->fd.get();
  if (::fchown(fd, attributes_.uid, attributes_.gid) != 0) return SystemFailure("fchown");
  if (::fchmod(fd, attributes_.mode) != 0) return SystemFailure("fchmod");
  folder->mtime = attributes_.mtime;
  folder->set_gid = (attributes_.mode & S_ISGID) != 0;
  if (own_.has_lower() && described_.Add(folder->inode)) {
    if (Result failure = RemoveUserXattrs(fd)) return failure;
  }
  return SetXattrs(entry, fd, true, &counts_.xattrs);
}

// An earlier entry of the name gives way.
template <typename Make>
Result TreeWriter::Place(const Folder& parent, const char* what, Make make) {
  if (!make()) {
    if (errno != EEXIST) return SystemFailure(what);
    if (Result failure = Clear(parent, path_.base.c_str())) return failure;
    if (!make()) return SystemFailure(what);
  }
  return Claim(parent);
}

Result TreeWriter::AddFile(archive* reader, archive_entry* entry, const Folder& parent) {
  constexpr int kNew = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const char* name = path_.base.c_str();
  const mode_t plain = attributes_.mode & 0777;
  UniqueFd fd;
  Result placing = Place(parent, "cannot make the file", [&] {
    fd.reset(::openat(parent.fd.get(), name, kNew, plain));
    return static_cast<bool>(fd);
  });
  if (placing) return placing;
  if (Result failure = CopyData(reader, ::archive_entry_size(entry), fd.get(), &counts_.bytes))
    return failure;
  // The owner first: a change of it takes set-id bits and file capabilities away (chown(2)), as
  // does writing.
  if (NeedsOwner(parent) && ::fchown(fd.get(), attributes_.uid, attributes_.gid) != 0) {
    return SystemFailure("fchown");
  }
  if (attributes_.mode != plain && ::fchmod(fd.get(), attributes_.mode) != 0) {
    return SystemFailure("fchmod");
  }
  if (Result failure = SetXattrs(entry, fd.get(), false, &counts_.xattrs)) return failure;
  const timespec times[] = {attributes_.mtime, attributes_.mtime};
  (void)::futimens(fd.get(), times);
  return {};
}

Result TreeWriter::AddHardlink(const char* target, const Folder& parent) {
  EntryPath path;
  if (Result failure = ParseEntryPath(target, &path)) return failure;
  UniqueFd folder = folders_.Open(path.parent, O_PATH | O_DIRECTORY);
  struct stat linked, present;
  if (path.IsRoot() || !folder ||
      ::fstatat(folder.get(), path.base.c_str(), &linked, AT_SYMLINK_NOFOLLOW) != 0 ||
      !own_.Has(linked.st_ino) || IsWhiteout(linked)) {
    return Refused("is a hard link to " + Quote(target) + ", which this layer does not have");
  }
  if (S_ISDIR(linked.st_mode)) return Refused("is a hard link to folder " + Quote(target));
  const char* name = path_.base.c_str();
  const int parent_fd = parent.fd.get();
  if (::fstatat(parent_fd, name, &present, AT_SYMLINK_NOFOLLOW) == 0 &&
      present.st_dev == linked.st_dev && present.st_ino == linked.st_ino) {
    return {};
  }
  return Place(parent, "linkat",
               [&] { return ::linkat(folder.get(), path.base.c_str(), parent_fd, name, 0) == 0; });
}

Result TreeWriter::AddSymlink(archive_entry* entry, const Folder& parent) {
  const char* target = ::archive_entry_symlink(entry);
  if (target == nullptr || *target == '\0') return Refused("is a symbolic link to nothing");
  const char* name = path_.base.c_str();
  Result placing =
      Place(parent, "symlinkat", [&] { return ::symlinkat(target, parent.fd.get(), name) == 0; });
  if (placing) return placing;
  return SetLinkAttributes(parent, false);
}

Result TreeWriter::AddFifo(const Folder& parent) {
  const char* name = path_.base.c_str();
  Result placing = Place(parent, "mkfifoat", [&] {
    return ::mkfifoat(parent.fd.get(), name, attributes_.mode & 0777) == 0;
  });
  if (placing) return placing;
  return SetLinkAttributes(parent, true);
}

// For what cannot be opened: the name was made by us just now, and nobody else is here to replace
// it.
Result TreeWriter::SetLinkAttributes(const Folder& parent, bool with_mode) {
  const int parent_fd = parent.fd.get();
  const char* name = path_.base.c_str();
  if (NeedsOwner(parent) &&
      ::fchownat(parent_fd, name, attributes_.uid, attributes_.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return SystemFailure("fchownat");
  }
  if (with_mode && (attributes_.mode & ~0777u) != 0 &&
      ::fchmodat(parent_fd, name, attributes_.mode, 0) != 0) {
    return SystemFailure("fchmodat");
  }
  const timespec times[] = {attributes_.mtime, attributes_.mtime};
  (void)::utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW);
  return {};
}

// A whiteout is about lower layers alone: what this layer has under the name stays, and hides the
// lower one by itself, but for a folder, which would be merged with it.
Result TreeWriter::AddWhiteout(const Folder& parent) {
  const std::string name(WhiteoutTarget(path_.base));
  const int parent_fd = parent.fd.get();
  struct stat status;
  if (::fstatat(parent_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT) return SystemFailure("fstatat");
    if (own_.has_lower()) return {};
    CountInode();
    return MakeWhiteout(parent_fd, name.c_str());
  }
  if (!own_.Has(status.st_ino)) return Clear(parent, name.c_str());
  if (!S_ISDIR(status.st_mode)) return {};
  Folder* folder = nullptr;
  const std::string path = path_.parent.empty() ? name : path_.parent + "/" + name;
  if (Result failure = folders_.Get(path, &folder)) return failure;
  return own_.has_lower() ? RemoveLowerIn(*folder) : SetOpaque(folder->fd.get());
}

Result TreeWriter::AddOpaque(Folder* folder) {
  if (own_.has_lower()) return RemoveLowerIn(*folder);
  if (!folder->path.empty()) return SetOpaque(folder->fd.get());
  // overlayfs does not look for the mark on a layer's root: the storage leaves lower layers out.
  root_marks_.opaque = true;
  return {};
}

Result TreeWriter::RemoveLowerIn(const Folder& folder) {
  if (Result failure = RemoveLower(folder.fd.get(), own_)) return failure;
  folders_.ForgetAllBut(folder);
  return {};
}

void TreeWriter::CountInode() {
  ++counts_.inodes;
  counts_.bytes += kBlock;
}

Result TreeWriter::Claim(const Folder& parent) {
  if (!own_.has_lower()) return {};
  struct stat status;
  if (::fstatat(parent.fd.get(), path_.base.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return SystemFailure("fstatat");
  }
  own_.Add(status.st_ino);
  return {};
}

Result TreeWriter::Clear(const Folder& parent, const char* name) {
  struct stat status;
  const int parent_fd = parent.fd.get();
  if (::fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
    return SystemFailure("fstatat");
  if (S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode)) folders_.ForgetAllBut(parent);
  if (S_ISDIR(status.st_mode)) return RemoveTree(parent_fd, name);
  if (::unlinkat(parent_fd, name, 0) != 0) return SystemFailure("unlinkat");
  return {};
}

Result TreeWriter::Finish() {
  folders_.ForgetAll();
  counts_.inodes += folders_.made();
  counts_.bytes += folders_.made() * kBlock;
  // The layer's folder is renamed into place next: everything in it must be on the disk by then.
  if (::syncfs(root_.get()) != 0) return SystemFailure("syncfs");
  return {};
}

}  // namespace pvecri
